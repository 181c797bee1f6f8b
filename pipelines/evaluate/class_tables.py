"""Predicted classes read from a table: Parquet, CSV or JSON lines, with classes or scores for each sample.

Refuses classes and scores that cannot be right, and a table that does not have each sample exactly once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.evaluate.keys import Unknown, check_each_once
from pipelines.evaluate.printed import ElidedError, numbers
from pipelines.text import first_line, number_of

# ImageNet's classes, which have the labels 0-999.
CLASSES = 1000
# Bytes of CSV or JSON that are parsed at a time.
_BLOCK = 1 << 24
# Bytes of Parquet that are read at a time, and of CSV that are searched for values in several lines.
_PAGE = 1 << 22


def read_classes(path: Path, keys: Sequence[str], offset: int = 0) -> NDArray[np.int64]:
    """Predicted labels (0-999) for these keys, best first: int64 of shape (keys, 1 or 5).

    The table has a column `key`, and `pred`, `top5` or `scores` (or a column for each class, named 0, 1, …). `offset`
    is subtracted from its class numbers. Raises UsageError if keys are missing, unknown or repeated, and if classes or
    scores cannot be right.
    """
    place = {key: index for index, key in enumerate(keys)}
    found: NDArray[np.int64] | None = None
    seen = np.zeros(len(keys), np.int64)
    unknown = Unknown()
    for names, classes in _batches(path, offset):
        if found is None:
            found = np.zeros((len(keys), classes.shape[1]), np.int64)
        rows = np.array([place.get(name, -1) for name in names], np.int64)
        unknown.add(name for name, row in zip(names, rows, strict=True) if row < 0)
        known = rows >= 0
        np.add.at(seen, rows[known], 1)
        found[rows[known]] = classes[known]
    check_each_once(path, keys, seen, unknown)
    assert found is not None  # there are keys, and none is missing
    return found


def _batches(path: Path, offset: int) -> Iterator[tuple[list[str], NDArray[np.int64]]]:
    """Keys and classes, some rows at a time."""
    try:
        for batch in _read(path):
            columns = batch.schema.names
            twice = next((name for name in columns if columns.count(name) > 1), None)
            if twice is not None:
                raise UsageError(f"{path} has two columns `{twice}`: keep one of them")
            if "key" not in columns or batch.column("key").null_count == batch.num_rows:
                others = [name for name in columns if name != "key"]
                raise UsageError(f"{path} has no column `key`: it has {', '.join(others[:5])}")
            keys = batch.column("key")
            if keys.null_count:
                raise UsageError(f"{path} has {number_of(keys.null_count, 'row')} without a key")
            yield [str(key) for key in keys.to_pylist()], _classes(path, batch, offset)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read ({first_line(error)}{_form(path)})") from None


def _form(path: Path) -> str:
    """A hint for a file that is JSON, but not JSON lines."""
    with open(path, "rb") as file:
        is_array = file.read(64).lstrip().startswith(b"[")
    return "; it is a JSON array: write one object per line instead" if is_array else ""


def _read(path: Path) -> Iterator[pa.RecordBatch]:
    # Keys such as 000000000139 must stay text.
    text = {"key": pa.string()}
    if path.suffix.lower() == ".parquet":
        # Unbuffered: a file is often a single row group, too large for memory.
        yield from pq.ParquetFile(path, pre_buffer=False, buffer_size=_PAGE).iter_batches(batch_size=1024)
    elif path.suffix.lower() == ".csv":
        convert = pyarrow.csv.ConvertOptions(column_types=text)
        parse_options = pyarrow.csv.ParseOptions(newlines_in_values=_has_broken_lines(path))
        yield from pyarrow.csv.open_csv(path, pyarrow.csv.ReadOptions(block_size=_BLOCK), parse_options, convert)
    else:
        schema = pyarrow.json.ParseOptions(explicit_schema=pa.schema(text))
        yield from pyarrow.json.open_json(path, pyarrow.json.ReadOptions(block_size=_BLOCK), schema)


def _has_broken_lines(path: Path) -> bool:
    """Whether values of a CSV span several lines, as long printed arrays do; parsing that is slower."""
    with open(path, "rb") as file:
        lines = file.read(_PAGE).splitlines()
    return any(line.count(b'"') % 2 for line in lines[:-1])


def _classes(path: Path, batch: pa.RecordBatch, offset: int) -> NDArray[np.int64]:
    """The classes of a batch, best first, in whichever column they are."""
    columns = batch.schema.names
    numbered = [name for name in columns if name.isdecimal()]
    if "scores" in columns or numbered:
        return _best(path, batch, _scores(path, batch, numbered), offset)
    if "top5" in columns:
        classes = _integers(path, _matrix(path, batch, "top5"), "top5")
        if classes.shape[1] != 5:
            raise UsageError(f"{path}: top5 has {classes.shape[1]} classes per row, not 5")
        _check_top5(path, batch, classes)
    elif "pred" in columns:
        classes = _integers(path, _column(path, batch, "pred")[:, None], "pred")
    else:
        raise UsageError(f"{path} has none of the columns `pred`, `top5` and `scores`: it has {', '.join(columns[:5])}")
    classes = classes - offset
    outside = (classes < 0) | (classes >= CLASSES)
    if outside.any():
        count, first = int(outside.any(axis=1).sum()), int(classes[outside][0]) + offset
        raise UsageError(
            f"{path}: {number_of(count, 'prediction')} outside {offset}–{CLASSES - 1 + offset} (first: {first}): "
            "labels are ImageNet's 0–999; give --class-offset 1 if the model's start at 1"
        )
    return classes


def _check_top5(path: Path, batch: pa.RecordBatch, classes: NDArray[np.int64]) -> None:
    """Raises UsageError if a class is among the five twice, or if there is a `pred` that is not the first."""
    ordered = np.sort(classes, axis=1)
    twice = np.count_nonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
    if twice:
        raise UsageError(f"{path}: {number_of(twice, 'row')} of `top5` with the same class twice")
    if "pred" in batch.schema.names:
        first = _integers(path, _column(path, batch, "pred"), "pred")
        other = np.count_nonzero(first != classes[:, 0])
        if other:
            raise UsageError(f"{path}: `pred` is not the first of `top5` in {number_of(other, 'row')}")


def _integers(path: Path, values: NDArray[np.generic], column: str) -> NDArray[np.int64]:
    try:
        numbers = values.astype(np.float64)
        whole = (np.abs(numbers) < 2**31) & (numbers == np.floor(numbers))
    except (TypeError, ValueError):
        raise UsageError(f"{path}: `{column}` has {str(values.flat[0])!r}, which is not a class number") from None
    if not whole.all():
        raise UsageError(
            f"{path}: {number_of(np.count_nonzero(~whole), 'value')} of `{column}` that cannot be class numbers (NaN?)"
        )
    return numbers.astype(np.int64)


def _matrix(path: Path, batch: pa.RecordBatch, name: str) -> NDArray[np.generic]:
    """A column of lists as an array of shape (rows, length); CSV has them as text, `1 2 3` or as arrays are printed."""
    column = batch.column(name)
    if column.null_count:
        raise UsageError(f"{path}: {number_of(column.null_count, 'row')} without `{name}`")
    try:
        if pa.types.is_string(column.type):
            found = np.array([numbers(text) for text in column.to_pylist()])
            if found.dtype.kind not in "if":
                raise ValueError("not of numbers")
            return found
        if len(pc.list_value_length(column).unique()) != 1:
            raise ValueError("of different lengths")
        flat = column.flatten().to_numpy(zero_copy_only=False)
        return np.asarray(flat.reshape(len(column), -1))
    except ElidedError:
        raise UsageError(
            f"{path}: `{name}` has arrays printed with `...` in place of their middle: write them in full, with "
            "`row.tolist()`, or as Parquet"
        ) from None
    except (ValueError, pa.ArrowException):
        raise UsageError(f"{path}: `{name}` must be a list of the same length in every row") from None


def _column(path: Path, batch: pa.RecordBatch, name: str) -> NDArray[np.generic]:
    """A column of numbers as an array of shape (rows,); CSV may have them as they are printed."""
    column = batch.column(name)
    if pa.types.is_string(column.type) and not column.null_count:
        try:
            return np.array([number for text in column.to_pylist() for (number,) in [numbers(text)]])
        except ValueError:  # the caller names the value that is not a number
            pass
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _scores(path: Path, batch: pa.RecordBatch, numbered: Sequence[str]) -> NDArray[np.float64]:
    if not numbered:
        return _matrix(path, batch, "scores").astype(np.float64)
    ordered = sorted(numbered, key=int)
    if [int(name) for name in ordered] != list(range(len(ordered))):
        raise UsageError(f"{path}: the score columns are not 0 to {len(ordered) - 1} without a gap")
    try:
        return np.stack([_column(path, batch, name).astype(np.float64) for name in ordered], axis=1)
    except (TypeError, ValueError):
        raise UsageError(f"{path}: the score columns have values that are not numbers") from None


def _best(path: Path, batch: pa.RecordBatch, scores: NDArray[np.float64], offset: int) -> NDArray[np.int64]:
    """The five classes with the highest scores; ties go to the lower class."""
    if offset < 0:
        raise UsageError(f"{path}: --class-offset {offset} is for `pred` and `top5`; scores start at their first class")
    if scores.shape[1] - offset != CLASSES:
        hint = "; give --class-offset 1 if class 0 is background" if scores.shape[1] == CLASSES + 1 else ""
        raise UsageError(f"{path}: {scores.shape[1]} scores per row, but labels are ImageNet's {CLASSES}{hint}")
    bad = ~np.isfinite(scores).all(axis=1)
    if bad.any():
        first = batch.column("key")[int(np.flatnonzero(bad)[0])]
        raise UsageError(
            f"{path}: {number_of(np.count_nonzero(bad), 'row')} with scores that are NaN or infinite (first: {first})"
        )
    return np.argsort(-scores[:, offset:], axis=1, kind="stable")[:, :5].astype(np.int64)
