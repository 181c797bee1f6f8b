"""Reads a device's outputs for one image from its files: arrays by the name of the output, or boxes.

Refuses objects, NaN and infinity, and boxes with impossible values. Never loads a pickle.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.evaluate.match.dump import read_npy
from pipelines.evaluate.model.heads.categories import CATEGORIES
from pipelines.text import first_line, number_of

T = TypeVar("T")
# By the output's name, which is empty if the file has none; numbers from text are float32.
Arrays = dict[str, NDArray[np.generic]]
# x, y, width, height, score, COCO category: shape (n, 6).
Boxes = NDArray[np.float64]
Value = Arrays | Boxes

SUFFIXES = (".npy", ".npz", ".json", ".csv")
_CORNERS, _SIDES = ("x1", "y1", "x2", "y2"), ("x", "y", "width", "height")
_COLUMNS = "x1,y1,x2,y2 (or x,y,width,height), score and category_id (or class, counted from 0)"
_MOST = 1 << 28  # bytes of a text file, which is read as a whole
# How far rounding may lift a score above 1.
_SLACK = 1e-3


def of_npy(path: Path) -> NDArray[np.generic]:
    """The array of an npy file. Raises UsageError."""
    return _numbers(_opened(path, read_npy), str(path))


def of_npz(path: Path) -> Arrays:
    """The arrays of an npz file by name. Raises UsageError."""

    def read(path: Path) -> Arrays:
        with path.open("rb") as file:
            start = file.read(2)
        if start != b"PK":
            pickled = "a pickle, which is never loaded" if start[:1] == b"\x80" else "not an npz file"
            raise UsageError(f"{path} is {pickled}: write it with np.savez(path, name=array)")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    return {name: _numbers(array, f"{path}: {name}") for name, array in _opened(path, read).items()}


def of_csv(path: Path) -> Value:
    """One image's CSV: a row or a column of numbers, or boxes with a header. Raises UsageError."""
    rows = [row for row in rows_of(path) if row]
    if not rows:
        raise UsageError(f"{path} is empty: write it again")
    if "score" in rows[0]:
        return boxes_of_rows(rows[0], rows[1:], str(path))
    if len(rows[0]) > 1 and len(rows) > 1 and rows[0] == [str(number) for number in range(len(rows[0]))]:
        rows = rows[1:]  # a header of class numbers
    if len(rows) > 1 and len(rows[0]) > 1:
        raise UsageError(
            f"{path} has {len(rows)} rows of {len(rows[0])}: write one row or column of scores, or boxes with a header "
            f"of {_COLUMNS}"
        )
    return {"": of_text([cell for row in rows for cell in row], str(path))}


def of_json(found: object, where: str) -> Value:
    """One image's value in a JSON file: numbers, numbers by output, or COCO results. Raises UsageError."""
    if isinstance(found, dict) and found:
        return {str(name): _of_list(numbers, f"{where}: {name}") for name, numbers in found.items()}
    if isinstance(found, list) and all(isinstance(one, dict) for one in found):
        return boxes_of_results(found, where)
    return {"": _of_list(found, where)}


def boxes_of_results(results: Sequence[Mapping[str, Any]], where: str) -> Boxes:
    """COCO results of one image. Raises UsageError."""
    rows = []
    for result in results:
        try:
            x, y, width, height = map(float, result["bbox"])
            rows.append((x, y, width, height, float(result["score"]), float(result["category_id"])))
        except (KeyError, TypeError, ValueError):
            raise UsageError(
                f"{where}: a box is {{bbox: [x, y, width, height], score, category_id}}, not {str(result)[:120]}"
            ) from None
    return _checked(np.array(rows, np.float64).reshape(-1, 6), where)


def boxes_of_rows(header: Sequence[str], rows: Sequence[Sequence[str]], where: str) -> Boxes:
    """Boxes from rows and the header that names their columns. Raises UsageError."""
    names = [name.strip() for name in header]
    table = np.array([of_text(row, where) for row in rows], np.float64).reshape(-1, len(names))
    columns = dict(zip(names, table.T, strict=True))
    box = next((form for form in (_CORNERS, _SIDES) if set(form) <= columns.keys()), None)
    label = next((name for name in ("category_id", "class") if name in columns), None)
    if box is None or label is None or "score" not in columns:
        raise UsageError(f"{where} has the columns {', '.join(names[:8])}: boxes need {_COLUMNS}")
    corners = np.stack([columns[name] for name in box], axis=1)
    return _boxes(corners, columns["score"], columns[label], where, sides=box == _SIDES, ids=label == "category_id")


def boxes_of_array(array: NDArray[np.generic], where: str) -> Boxes:
    """Boxes from rows of x1, y1, x2, y2, score and class, as detectors return them after NMS. Raises UsageError."""
    rows = array.astype(np.float64).reshape(-1, 6)
    return _boxes(rows[:, :4], rows[:, 4], rows[:, 5], where, sides=False, ids=False)


def rows_of(path: Path) -> list[list[str]]:
    """A CSV's rows of cells. Raises UsageError."""

    def read(path: Path) -> list[list[str]]:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file))

    check_size(path)
    return _opened(path, read)


def check_size(path: Path) -> None:
    """Raises UsageError for a text file that is too large to read as a whole."""
    if path.stat().st_size > _MOST:
        raise UsageError(f"{path} has more than {_MOST >> 20} MiB: give outputs for fewer images, or as npy files")


def of_text(cells: Sequence[str], where: str) -> NDArray[np.generic]:
    """Numbers from text. Raises UsageError."""
    try:
        return _numbers(np.array([float(cell) for cell in cells]), where)
    except ValueError:
        raise UsageError(f"{where} has {', '.join(cells)[:60]!r}, which are not all numbers") from None


def _of_list(found: object, where: str) -> NDArray[np.generic]:
    try:
        array = np.array(found)
    except ValueError:  # lists of different lengths
        array = np.array(None)
    if array.dtype.kind not in "uif" or not array.size:
        raise UsageError(f"{where} must be a list of numbers, or of boxes as COCO results have them")
    return _numbers(array.astype(np.float64), where)


def _opened(path: Path, read: Callable[[Path], T]) -> T:
    try:
        return read(path)
    except UsageError:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise UsageError(f"{path} cannot be read ({first_line(error)}): write it again") from None


def _numbers(array: NDArray[Any], where: str) -> NDArray[np.generic]:
    """An array of finite numbers: integers and float16 unchanged, others as float32."""
    if array.dtype.kind not in "uif":
        raise UsageError(f"{where} has dtype {array.dtype}, not real numbers")
    if not array.size and array.shape[-1:] != (6,):  # (0, 6) is a set of no boxes
        raise UsageError(f"{where} is empty")
    if array.dtype.kind in "ui":
        return array
    if not np.isfinite(array).all():
        bad = number_of(int(np.count_nonzero(~np.isfinite(array))), "value")
        raise UsageError(f"{where} has NaN or infinity in {bad}")
    return array if array.dtype == np.float16 else array.astype(np.float32)


def _boxes(
    corners: NDArray[np.float64],
    scores: NDArray[np.float64],
    labels: NDArray[np.float64],
    where: str,
    *,
    sides: bool,
    ids: bool,
) -> Boxes:
    if not sides:
        corners = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    if not ids:
        places = np.rint(labels)
        if (places != labels).any() or ((labels < 0) | (labels >= len(CATEGORIES))).any():
            raise UsageError(
                f"{where} has a class outside 0 to {len(CATEGORIES) - 1}: write COCO results as JSON, or a CSV with "
                "the column category_id"
            )
        labels = np.array(CATEGORIES, np.float64)[places.astype(np.int64)]
    return _checked(np.concatenate([corners, scores[:, None], labels[:, None]], axis=1), where)


def _checked(boxes: Boxes, where: str) -> Boxes:
    if not np.isfinite(boxes).all():
        raise UsageError(f"{where} has boxes or scores that are NaN or infinite")
    if (boxes[:, 2:4] < 0).any():
        raise UsageError(f"{where} has boxes of negative width or height: are they x, y, width, height, or corners?")
    if ((boxes[:, 4] < 0) | (boxes[:, 4] > 1 + _SLACK)).any():
        raise UsageError(f"{where} has scores outside 0 to 1")
    return boxes
