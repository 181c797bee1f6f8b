"""Sources from anyone: archives, tables, annotations and lists give samples, or are refused in one line."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from manifests.row import is_key
from pipelines.generate.sources import Catalogue, Missing, Source, open_imagenet
from pipelines.generate.sources.coco import open_coco
from pipelines.generate.sources.labels import read_labels
from pipelines.store import Disk
from tests.fuzzing import HOSTILE, NAMES, changed_bytes, changed_tar, described, files, fuzz, outcome, tar_of


def picture(red: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7), (red, 10, 99)).save(buffer, "JPEG")
    return buffer.getvalue()


IMAGES = {f"a{number}.jpg": picture(number * 50) for number in range(3)}
LABELS = "".join(f"{name} {number}\n" for number, name in enumerate(IMAGES)).encode()
TAR = tar_of([*IMAGES.items()])
SHARD = tar_of([each for name, data in IMAGES.items() for each in ((name, data), (f"{name[:2]}.cls", b"7"))])
ANNOTATIONS = json.dumps(
    {"images": [{"id": number, "file_name": name} for number, name in enumerate(IMAGES)], "annotations": []}
).encode()


def parquet() -> bytes:
    kind = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())])
    rows = [{"image": {"bytes": data, "path": name}, "label": 3} for name, data in IMAGES.items()]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=kind), buffer, row_group_size=2)
    return buffer.getvalue()


def zipped(method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in IMAGES.items():
            archive.writestr(f"val/{name}", data)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "labels.txt").write_bytes(LABELS)
    (tmp_path / "annotations.json").write_bytes(ANNOTATIONS)
    return tmp_path


def contents(opened: Callable[[], Source]) -> list[tuple[str, bytes | Missing]]:
    source = opened()
    samples = Catalogue(source.listing().samples)
    return [(sample.key, data) for sample, data in zip(samples, source.read(samples), strict=True)]


def check(folder: Path, name: str, data: bytes, opened: Callable[[Disk], Source]) -> None:
    """Open the source at `folder / name` with these bytes."""
    (folder / name).write_bytes(data)
    before = files(folder)
    found = outcome(lambda: contents(lambda: opened(Disk(str(folder / name)))))
    assert files(folder) == before
    for key, image in found or ():
        assert is_key(key)
        assert isinstance(image, bytes) or image.reason.isprintable()


@fuzz(200)
@given(data=st.data())
def test_tars(folder: Path, data: st.DataObject) -> None:
    labels = Disk(str(folder / "labels.txt"))
    check(folder, "val.tar", data.draw(changed_tar(TAR)), lambda place: open_imagenet(place, labels))


@fuzz(200)
@given(data=st.data())
def test_webdataset_tars(folder: Path, data: st.DataObject) -> None:
    check(folder, "val.tar", data.draw(changed_tar(SHARD)), lambda place: open_imagenet(place, None))


@fuzz(200)
@given(data=changed_bytes(parquet()))
def test_parquet(folder: Path, data: bytes) -> None:
    check(folder, "val.parquet", data, lambda place: open_imagenet(place, None))


def renamed(data: bytes) -> Iterator[bytes]:
    """A zip whose members are renamed to names of the same length."""
    own = next(iter(IMAGES)).encode()
    for name in (b"../a0.jpg", b"/" * 4 + own[:-4] + b"jpg", b"\x1b[31m.jpg", b"\xff" * 5 + b".jpg"):
        yield data.replace(b"val/" + own, name[:10].ljust(10, b"x"))


@fuzz(200)
@given(
    data=st.one_of(
        *(changed_bytes(zipped(method)) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)),
        st.sampled_from([*renamed(zipped(zipfile.ZIP_STORED))]),
    )
)
def test_zips(folder: Path, data: bytes) -> None:
    annotations = Disk(str(folder / "annotations.json"))
    check(folder, "val.zip", data, lambda place: open_coco(place, annotations))


@fuzz(200)
@given(data=described(ANNOTATIONS))
def test_annotations(folder: Path, data: bytes) -> None:
    (folder / "val.zip").write_bytes(zipped(zipfile.ZIP_STORED))
    check(folder, "annotations.json", data, lambda place: open_coco(place.parent / "val.zip", place))


def lines() -> st.SearchStrategy[bytes]:
    words = st.sampled_from([name.decode("latin-1") for name in NAMES] + [str(value)[:6000] for value in HOSTILE])
    listed = st.lists(st.tuples(words, words).map(" ".join), max_size=4).map("\n".join)
    return listed.map(lambda text: LABELS + text.encode("utf-8", "surrogatepass"))


@fuzz(200)
@given(data=st.one_of(changed_bytes(LABELS), lines()))
def test_label_lists(folder: Path, data: bytes) -> None:
    (folder / "val.tar").write_bytes(TAR)
    check(folder, "labels.txt", data, lambda place: open_imagenet(place.parent / "val.tar", place))
    outcome(lambda: read_labels(Disk(str(folder / "labels.txt"))))
