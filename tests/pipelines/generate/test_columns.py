"""Parquet and WebDatasets with other names for images and labels are read alike, or refused with what they contain."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import UsageError
from pipelines.generate.sources import Catalogue, open_imagenet
from pipelines.store import Disk
from tests.fuzzing import fuzz, tar_of

IMAGES = [b"\xff\xd8 one", b"\xff\xd8 two", b"\xff\xd8 three"]
LABELS = [3, 999, 0]
STEMS = ["c", "a", "b"]
HUB = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
BARE = pa.struct([("bytes", pa.large_binary())])


def read(path: Path) -> list[tuple[str, int, object]]:
    source = open_imagenet(Disk(str(path)), None)
    samples = Catalogue(source.listing().samples)
    return [(s.key, s.label, data) for s, data in zip(samples, source.read(samples), strict=True)]


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read(path)
    return str(caught.value)


def write(path: Path, columns: dict[str, tuple[list[Any], pa.DataType]]) -> Path:
    arrays = {name: pa.array(values, kind) for name, (values, kind) in columns.items()}
    pq.write_table(pa.table(arrays), path, row_group_size=2)
    return path


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], dict[str, tuple[list[Any], pa.DataType]]]:
    """The images' keys, and columns with the images and labels, among others and in any order."""
    kind = draw(st.sampled_from([HUB, BARE, pa.binary(), pa.large_binary()]))
    paths = [f"val/{stem}.JPEG" for stem in STEMS]
    images: list[Any] = IMAGES
    if kind == HUB:
        images = [{"bytes": data, "path": path} for data, path in zip(IMAGES, paths, strict=True)]
    elif kind == BARE:
        images = [{"bytes": data} for data in IMAGES]
    columns = {
        draw(st.sampled_from(["image", "img", "jpg", "jpeg", "png"])): (images, kind),
        draw(st.sampled_from(["label", "labels", "cls", "class", "target"])): (
            LABELS,
            draw(st.sampled_from([pa.int64(), pa.uint16(), pa.int32()])),
        ),
        "caption": (["x"] * 3, pa.string()),
        "thumbnail": (IMAGES, pa.binary()),
        "width": ([500, 501, 502], pa.int64()),
    }
    named = kind != HUB and kind != BARE and draw(st.booleans())
    if named:
        columns[draw(st.sampled_from(["__key__", "file_name", "path"]))] = (paths, pa.string())
    keys = STEMS if named or kind == HUB else [f"val-{row:08d}" for row in range(3)]
    return keys, {name: columns[name] for name in draw(st.permutations(list(columns)))}


@fuzz(100)
@given(made=tables())
def test_images_and_labels_by_other_names(
    tmp_path: Path, made: tuple[list[str], dict[str, tuple[list[Any], pa.DataType]]]
) -> None:
    keys, columns = made
    assert read(write(tmp_path / "val.parquet", columns)) == sorted(zip(keys, LABELS, IMAGES, strict=True))


def test_the_usual_columns_are_preferred(tmp_path: Path) -> None:
    """So that sets read before other names were supported stay the same."""
    bare = [{"bytes": data} for data in IMAGES]
    others: dict[str, tuple[list[Any], pa.DataType]] = {
        "jpg": (IMAGES[::-1], pa.binary()),
        "cls": ([7] * 3, pa.int64()),
    }
    path = write(tmp_path / "x.parquet", {**others, "image": (bare, BARE), "label": (LABELS, pa.int16())})
    assert read(path) == [(f"x-{n:08d}", LABELS[n], IMAGES[n]) for n in range(3)]
    named = write(path, {"image": (bare, BARE), "label": (LABELS, pa.int64()), "file_name": (STEMS, pa.string())})
    assert [key for key, _, _ in read(named)] == [f"x-{n:08d}" for n in range(3)]


def test_a_refusal_lists_the_columns_found(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    images, labels = (IMAGES, pa.binary()), (LABELS, pa.int64())
    message = refused(write(path, {"image": images, "label": ([["a"]] * 3, pa.list_(pa.string()))}))
    assert "no column has labels; " in message
    assert message.endswith("found image (binary), label (list<element: string>)")
    assert "no column has images" in refused(write(path, {"image": (STEMS, pa.string()), "label": labels}))
    assert "the columns labels and cls could all" in refused(
        write(path, {"image": images, "labels": labels, "cls": labels})
    )
    many = {f"column{number}": labels for number in range(99)}
    assert refused(write(path, many)).endswith("column11 (int64), …")


@pytest.mark.parametrize("name", ["raw", "labels"])
def test_other_columns(data: Path, name: str) -> None:
    found = read(data / "field" / "parquet_columns" / f"{name}.parquet")
    assert [label for _, label, _ in found] == [571, 566, 701, 497, 566, 491]
    assert all(isinstance(image, bytes) for _, _, image in found)


def converted_as_told(message: str, folder: Path) -> list[tuple[str, int, object]]:
    """The samples of the file that is written by the command in a refusal."""
    (command,) = re.findall(r'with python -c "(.*)", and give', message)
    subprocess.run([sys.executable, "-c", command], cwd=folder, check=True)
    return read(folder / "validation.parquet")


@pytest.mark.parametrize("below", ["", "validation", "validation/data-00000-of-00001.arrow"])
def test_what_save_to_disk_writes_is_recognised(below: str, tmp_path: Path) -> None:
    for split in ("train", "validation"):
        folder = tmp_path / split
        folder.mkdir()
        (folder / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
        table = pa.table({"image": IMAGES, "label": LABELS})
        with pa.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), table.schema) as stream:
            stream.write_table(table)
    message = refused(tmp_path / below)
    assert f"{tmp_path / (below or 'validation')} has a data set in Arrow files, as `datasets` stores it" in message
    assert [(label, image) for _, label, image in converted_as_told(message, tmp_path)] == list(
        zip(LABELS, IMAGES, strict=True)
    )


def test_what_datasets_itself_saves_can_be_converted(tmp_path: Path) -> None:
    images = [{"bytes": image, "path": f"{stem}.JPEG"} for image, stem in zip(IMAGES, STEMS, strict=True)]
    saved = datasets.Dataset.from_dict({"image": images, "label": LABELS})
    saved.save_to_disk(str(tmp_path / "saved"), num_shards=2)
    found = converted_as_told(refused(tmp_path / "saved"), tmp_path)
    assert found == sorted(zip(STEMS, LABELS, IMAGES, strict=True))


def test_a_saved_data_set_can_be_converted(data: Path, tmp_path: Path) -> None:
    assert converted_as_told(refused(data / "field" / "save_to_disk"), tmp_path)


def described(*texts: object, cls: bool = False) -> bytes:
    members: list[tuple[str, bytes]] = []
    for stem, image, text in zip(STEMS, IMAGES, texts, strict=True):
        held = text if isinstance(text, bytes) else json.dumps(text).encode()
        members += [(f"{stem}.json", held), (f"{stem}.jpg", image)]
    return tar_of([*members, ("a.cls", b"5")] if cls else members)


def test_labels_only_in_json(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(described({"label": 3, "id": 1}, {"synset": "n15075141"}, {"other": 1}))
    assert read(path) == [("a", 999, IMAGES[1]), ("b", -1, IMAGES[2]), ("c", 3, IMAGES[0])]
    path.write_bytes(described({"label": 3}, b"no JSON", {"label": 1000}, cls=True))
    assert [label for _, label, _ in read(path)] == [5, -1, -1]  # if there are `cls` members, only they count
    path.write_bytes(described({"label": 3}, {"label": 1}, {"label": 1000}))
    assert refused(path) == f"{path}: b.json has the label 1000, which is not from 0 to 999"
    path.write_bytes(described({"id": 3}, {}, []))
    assert "has no labels" in refused(path)
