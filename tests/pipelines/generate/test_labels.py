"""Label lists in the wild: every way of writing one gives the same labels, or is refused in one line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import UsageError
from pipelines.generate.sources.labels import label_by_synset, label_in_json, read_labels
from pipelines.store import Disk
from tests.fuzzing import fuzz

SYNSETS = list(label_by_synset())
HEADERS = [None, ("ImageId", "PredictionString"), ("name", "synset"), ("filename", "label"), ("File Name", "Class ID")]


def listed(folder: Path, data: bytes) -> dict[str, int]:
    path = folder / "labels.csv"
    path.write_bytes(data)
    return dict(read_labels(Disk(str(path))).by_key)


def refused(folder: Path, text: str) -> str:
    with pytest.raises(UsageError) as caught:
        listed(folder, text.encode())
    return str(caught.value)


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, int], bytes]:
    """Labels by key, and a table of them as some program might write it."""
    labels = draw(st.lists(st.integers(0, 999), min_size=2, max_size=6))
    stems = [f"ILSVRC2012_val_{number + 5:08d}" for number in range(len(labels))]
    extension = draw(st.sampled_from(["", ".JPEG", ".jpg"]))
    delimiter = draw(st.sampled_from(",;\t"))
    synsets = draw(st.booleans())
    boxes = draw(st.integers(0, 3))
    header = draw(st.sampled_from(HEADERS))
    indexed = header is not None and draw(st.booleans())
    swapped = (header is not None or synsets) and draw(st.booleans())
    buffer = io.StringIO()
    dialect = draw(st.sampled_from([csv.excel, csv.unix_dialect]))  # quotes where they are needed, and everywhere
    writer = csv.writer(buffer, dialect, delimiter=delimiter, lineterminator=draw(st.sampled_from(["\n", "\r\n"])))
    rows = []
    for stem, label in zip(stems, labels, strict=True):
        word = SYNSETS[label] if synsets else str(label)
        found = [f"{word} {draw(st.integers(0, 499))} 1 499 272" for _ in range(boxes)]
        # Kaggle's cells end with a space, and the objects after the first may belong to other classes.
        others = [f"{draw(st.sampled_from(SYNSETS))} 10 20 130 140"] if synsets and boxes else []
        rows.append([f"val/{stem}{extension}", " ".join([*found, *others]) + " " if found else word])
    for number, row in enumerate([list(header), *rows] if header else rows):
        columns = row[::-1] if swapped else row
        writer.writerow(["" if number == 0 else number - 1, *columns] if indexed else columns)
    mark = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    blank = draw(st.sampled_from([b"", b"\r\n\n"]))
    return dict(zip(stems, labels, strict=True)), mark + buffer.getvalue().encode() + blank


@fuzz(150)
@given(table=tables())
def test_every_table_gives_the_labels(tmp_path: Path, table: tuple[dict[str, int], bytes]) -> None:
    labels, data = table
    assert listed(tmp_path, data) == labels


@fuzz(100)
@given(
    names=st.lists(st.sampled_from(["a b", "a,b", "x;3", "c,d e", "plain", "1,2"]), min_size=1, unique=True),
    separator=st.sampled_from([" ", "  ", "\t"]),
)
def test_names_with_blanks_and_commas_in_lists_of_words(tmp_path: Path, names: list[str], separator: str) -> None:
    text = "".join(f"{name}.JPEG{separator}{label}\n" for label, name in enumerate(names))
    assert listed(tmp_path, text.encode()) == {name: label for label, name in enumerate(names)}


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("a.jpg n01440764 85 1 499 272\nb.jpg n01443537 1 2 3 4 n01440764 5 6 7 8\n", {"a": 0, "b": 1}),
        ("filename,width,height,class,xmin\na.jpg,500,375,n01443537,8\n", {"a": 1}),
        ("a.jpg,500,375,n01443537,8,9\nb.jpg,500,375,n01440764,8,9\n", {"a": 1, "b": 0}),
        ("a.jpg,7,tench\nb.jpg,8,goldfish\n", {"a": 7, "b": 8}),
        (",0\na.jpg,7\nb.jpg,8\n", {"a": 7, "b": 8}),
        ('"a, b.jpg",3\n"c.jpg",4\n', {"a, b": 3, "c": 4}),
    ],
)
def test_tables_of_other_shapes(text: str, labels: dict[str, int], tmp_path: Path) -> None:
    assert listed(tmp_path, text.encode()) == labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg,1\nb.jpg,1000\nc.jpg,2\n", "line 2: '1000' is neither a label"),
        ("img_1,1000\nimg_2,2\nimg_3,2\n", "line 1: '1000' is neither a label"),
        ("name,label\na.jpg,1\nb.jpg\nc.jpg,2\n", "line 3: expected a name and a label, found 'b.jpg'"),
        ("a.jpg,1\na.jpg,2\n", "line 2: a has two labels, 1 and 2"),
        ("a.jpg,10,20,130,140\nb.jpg,10,20,130,140\n", "several columns of numbers could be labels"),
        ("filename,class,xmin\na.jpg,dog,8\nb.jpg,cat,9\n", "could be labels: add a first line"),
        ("a.jpg,n01440765\nb.jpg,n01440764\nc.jpg,n01440764\n", "line 1: 'n01440765' is neither"),
        (
            "ILSVRC2012_val_00000732 732\nILSVRC2012_val_00001492 1492\n",
            "only numbers the files, like Kaggle's",
        ),
        ("ILSVRC2012_val_00000001,1\nILSVRC2012_val_00000002,2\n", "give LOC_val_solution.csv"),
    ],
)
def test_tables_without_clear_labels_are_refused(text: str, message: str, tmp_path: Path) -> None:
    assert message in refused(tmp_path, text)


@pytest.mark.parametrize("name", ["LOC_val_solution.csv", "noheader.csv", "timm_style.csv"])
def test_kaggle(data: Path, name: str) -> None:
    folder = data / "field" / "kaggle"
    found = read_labels(Disk(str(folder / name)))
    everything = read_labels(Disk(str(data / "imagenet" / "val.txt")))
    images = list((folder / "ILSVRC" / "Data" / "CLS-LOC" / "val").iterdir())
    assert len(images) == 4
    assert all(found.label(path.stem) == everything.label(path.stem) for path in images)


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ({"label": 7, "filename": "x"}, 7),
        ({"cls": "7", "width": 500}, 7),
        ({"labels": [7]}, 7),
        ({"synset": SYNSETS[7], "label": 7}, 7),
        ({"class": "cock", "wnid": SYNSETS[7]}, 7),
        ({"label": -1}, -1),
        ({"label": "tench", "id": 5}, None),
        ({"labels": [1, 2]}, None),
        ([7], None),
    ],
)
def test_labels_in_json(value: object, label: int | None) -> None:
    assert label_in_json(json.dumps(value).encode()) == label


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"label": 1000}', "has the label 1000, which is not from 0 to 999"),
        (b'{"label": true}', "has the label True"),
        (b'{"label": 1, "synset": "n01440764"}', "has two labels: label 1, synset 0"),
        (b'{"label": 1', "Expecting"),
        (b"\xff", "decode"),
    ],
)
def test_json_with_an_invalid_label_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        label_in_json(text)
