"""Tables of predictions: every form reads the same, and an incomplete one is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.evaluate.class_tables import read_classes
from pipelines.evaluate.predictions import TABLES, find_predictions
from pipelines.shards import Shards
from pipelines.store import Disk

# Like COCO's and ImageNet's: leading zeros, and one that looks like a number in scientific notation.
KEYS = ["000000000139", "ILSVRC2012_val_00000001", "12e5", "plain"]
SCORES = np.random.default_rng(0).normal(size=(len(KEYS), 1000))
BEST = [sorted(range(1000), key=lambda c, row=row: -row[c])[:5] for row in SCORES.tolist()]  # type: ignore[misc]


def parquet(path: Path, columns: dict[str, Any]) -> None:
    pq.write_table(pa.table(columns), path)


def comma_separated(path: Path, columns: dict[str, Any]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow([" ".join(map(str, cell)) if isinstance(cell, list) else cell for cell in row])


def json_lines(path: Path, columns: dict[str, Any]) -> None:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


WRITERS: dict[str, Callable[[Path, dict[str, Any]], None]] = {
    ".parquet": parquet,
    ".csv": comma_separated,
    ".jsonl": json_lines,
}


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("form", ["pred", "top5", "scores", "columns"])
def test_every_form_gives_the_same_classes(suffix: str, form: str, tmp_path: Path) -> None:
    forms: dict[str, dict[str, Any]] = {
        "pred": {"pred": [best[0] for best in BEST]},
        "top5": {"top5": BEST},
        "scores": {"scores": SCORES.tolist()},
        "columns": {str(number): SCORES[:, number].tolist() for number in range(1000)},
    }
    order = [2, 0, 3, 1]
    columns = {"key": KEYS, **forms[form]}
    path = tmp_path / f"ffmpeg{suffix}"
    WRITERS[suffix](path, {name: [values[place] for place in order] for name, values in columns.items()})
    classes = read_classes(path, KEYS)
    assert classes.tolist() == ([[best[0]] for best in BEST] if form == "pred" else BEST)


@pytest.mark.parametrize("suffix", WRITERS)
def test_long_tables_are_read_in_batches(suffix: str, tmp_path: Path) -> None:
    keys = [f"{number:012d}" for number in range(20_000)]
    classes = np.random.default_rng(1).integers(0, 1000, len(keys)).tolist()
    WRITERS[suffix](tmp_path / f"x{suffix}", {"key": keys[::-1], "pred": classes[::-1]})
    assert read_classes(tmp_path / f"x{suffix}", keys)[:, 0].tolist() == classes


def test_an_offset_is_subtracted(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    parquet(path, {"key": KEYS, "top5": [[c + 1 for c in best] for best in BEST]})
    assert read_classes(path, KEYS, offset=1).tolist() == BEST
    background: NDArray[np.float64] = np.concatenate([np.full((len(KEYS), 1), 9.0), SCORES], axis=1)
    parquet(path, {"key": KEYS, "scores": background.tolist()})
    assert read_classes(path, KEYS, offset=1).tolist() == BEST


NAN = float("nan")
PREDICTED = [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"key": KEYS[:-2], "pred": PREDICTED[:-2]}, r"lacks 2 of 4 keys \(first: 12e5\)"),
        ({"key": [*KEYS, *KEYS[:2]], "pred": [*PREDICTED, 1, 2]}, r"has 2 keys more than once \(first: 000000000139\)"),
        (
            {"key": [*KEYS, "other"], "pred": [*PREDICTED, 1]},
            r"has 1 key that its shards lack \(first: 'other'\)",
        ),
        ({"key": [f"val/{k}.JPEG" for k in KEYS], "pred": PREDICTED}, "keys are stems, such as '000000000139'"),
        ({"key": KEYS, "pred": [1, 2, 3, 1000]}, r"1 prediction outside 0–999 \(first: 1000\).*--class-offset 1"),
        ({"key": KEYS, "pred": [1, -2, 3, -7]}, r"2 predictions outside 0–999 \(first: -2\)"),
        ({"key": KEYS, "pred": [1.0, 2.5, NAN, 4.0]}, "2 values of `pred` that cannot be class numbers"),
        ({"key": KEYS, "pred": ["cat", "dog", "cat", "cat"]}, "`pred` has 'cat'"),
        ({"key": KEYS, "scores": [[0.1] * 10] * 4}, "10 scores per row, but labels are ImageNet's 1000"),
        ({"key": KEYS, "scores": [[0.1] * 1001] * 4}, "give --class-offset 1 if class 0 is background"),
        ({"key": KEYS, "scores": [[0.1] * 1000] * 3 + [[NAN] * 1000]}, r"1 row with scores that are NaN .*plain"),
        ({"key": KEYS, "top5": [[1, 2, 3, 3, 4]] * 4}, "4 rows of `top5` with the same class twice"),
        ({"key": KEYS, "top5": BEST, "pred": [7, 7, 7, 7]}, "`pred` is not the first of `top5` in 4 rows"),
        ({"key": KEYS, "pred": [1, 2, 3, 10**15]}, "1 value of `pred` that cannot be class numbers"),
        ({"key": KEYS, "top5": [[1, 2, 3]] * 4}, "top5 has 3 classes per row, not 5"),
        ({"key": KEYS, "top5": [[1, 2, 3, 4, 5]] * 3 + [[1]]}, "must be a list of the same length"),
        ({"key": KEYS, "label": PREDICTED}, "none of the columns `pred`, `top5` and `scores`: it has key, label"),
        ({"name": KEYS, "pred": PREDICTED}, "no column `key`: it has name, pred"),
    ],
)
@pytest.mark.parametrize("suffix", WRITERS)
def test_invalid_rows_are_counted_and_refused(
    columns: dict[str, Any], message: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"x{suffix}"
    WRITERS[suffix](path, columns)
    with pytest.raises(UsageError, match=message) as error:
        read_classes(path, KEYS)
    assert "\n" not in str(error.value)


def test_ambiguous_tables_are_refused(tmp_path: Path) -> None:
    twice = tmp_path / "x.csv"
    twice.write_text("key,pred,pred\n" + "".join(f"{key},1,2\n" for key in KEYS))
    with pytest.raises(UsageError, match="has two columns `pred`"):
        read_classes(twice, KEYS)
    array = tmp_path / "x.json"
    array.write_text(json.dumps([{"key": key, "pred": 1} for key in KEYS]))
    with pytest.raises(UsageError, match="it is a JSON array: write one object per line"):
        read_classes(array, KEYS)
    scores = tmp_path / "x.parquet"
    parquet(scores, {"key": KEYS, "scores": SCORES[:, 1:].tolist()})
    with pytest.raises(UsageError, match="--class-offset -1 is for `pred` and `top5`"):
        read_classes(scores, KEYS, offset=-1)


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("content", [b"", b"\x00\xff\x00", b'{"key": "a"', b"PAR1 nothing PAR1"])
def test_a_file_that_is_not_a_table_is_named(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=str(path)) as error:
        read_classes(path, KEYS)
    assert "\n" not in str(error.value)


def test_files_are_found_by_any_name_that_a_variant_has(shards: Shards, tmp_path: Path) -> None:
    for name in ("reference.csv", "pil+opencv_area.parquet", "ffmpeg+pil_nearest.jsonl", "notes.txt"):
        (tmp_path / name).touch()
    _, found = find_predictions(Disk(str(tmp_path)), shards, TABLES)
    assert {name: path.name for name, path in found.items()} == {
        "pil_bilinear": "reference.csv",
        "opencv_area": "pil+opencv_area.parquet",
        "ffmpeg+pil_nearest": "ffmpeg+pil_nearest.jsonl",
    }


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["pil_bilinear.csv", "opencv_araa.csv"], "belongs to no variant .* did you mean opencv_area"),
        (["pil_bilinear.csv", "pil.parquet"], "both predictions of pil_bilinear: keep one"),
        (["ffmpeg.csv"], "no predictions of the reference, pil_bilinear"),
        (
            ["notes.txt"],
            r"no predictions in .*: give \*.parquet, .* for each variant, named after it; it has notes.txt",
        ),
    ],
)
def test_an_ambiguous_folder_is_refused(names: list[str], message: str, shards: Shards, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match=message):
        find_predictions(Disk(str(tmp_path)), shards, TABLES)
