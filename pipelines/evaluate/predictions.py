"""A folder of predictions: which file is whose, and classes read from tables.

Refuses what does not belong to a variant, and a table that does not have each sample exactly once: a number that
looks whole is whole.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
from numpy.typing import NDArray

from generators.variant import Variant, VariantError
from pipelines.errors import UsageError
from pipelines.evaluate.printed import ElidedError, numbers
from pipelines.shards import Shards
from pipelines.store import Place
from pipelines.text import first_line

# Besides one file a variant, a folder may hold this: what made them.
ABOUT = "predictions.json"
TABLES = (".parquet", ".csv", ".jsonl", ".ndjson", ".json")
# ImageNet's, which is what labels 0-999 are of.
CLASSES = 1000
_BLOCK = 1 << 24
_PAGE = 1 << 22


def find_predictions(
    folder: Place, shards: Shards, suffixes: Collection[str], *, folders: bool = False
) -> tuple[Shards, dict[str, Place]]:
    """The prediction file (with no suffixes: folder; with `folders`: either) of each variant that has one, the
    reference among them.

    The shards that come with them have the variants with noise in the model as well that there are files of.

    Raises UsageError for a file that belongs to no variant, for two of one variant, and where the reference has none.
    """
    if not folder.is_dir():
        raise UsageError(f"--predictions {folder} is no folder: give one that holds a file for each variant")
    contents = folder.contents()
    found: dict[str, Place] = {}
    noised: list[Variant] = []
    files = {name: (folder / name).stem for name in contents.files if (folder / name).suffix in suffixes}
    takes_folders = folders or not suffixes
    inner = {name: name for name in contents.folders} if takes_folders else {}
    for place, written in ((folder / name, written) for name, written in {**files, **inner}.items()):
        if place.name.startswith(".") or place.name == ABOUT:
            continue
        name = _variant_of(place, written, shards, noised)
        if name in found:
            raise UsageError(f"{found[name]} and {place} are both predictions of {name}: keep one of them")
        found[name] = place
    if not found:
        of_files = [f"*{', *'.join(suffixes)}"] if suffixes else []
        wanted = " or ".join([*of_files, *(["a folder of arrays"] if folders else [])]) or "a folder of label maps"
        there = ", ".join(folder.names()[:3])
        seen = f"it has {there}" if there else "it is empty"
        raise UsageError(f"no predictions in {folder}: {wanted} for each variant is wanted, named after it; {seen}")
    if shards.reference.name not in found:
        raise UsageError(
            f"{folder} has no predictions of the reference, {shards.reference.name}: nothing can be compared without it"
        )
    shards = shards.with_noise(noised)
    return shards, {name: found[name] for name in shards.variants if name in found}


def _variant_of(place: Place, written: str, shards: Shards, noised: list[Variant]) -> str:
    """The variant that predictions are named after; one that is not finished has a place of its own, and is not scored.

    One with noise in the model, whose pixels are there, is added to `noised`.
    """
    known = {*shards.variants, *shards.unfinished}
    variant = _canonical(written, shards)
    for name in (written, variant.name if variant else ""):
        if name in known:
            return name
    if variant and variant.noise and variant.pixels in shards.variants:
        noised.append(variant)
        return variant.name
    near = difflib.get_close_matches(written, shards.variants, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(shards.variants)}"
    raise UsageError(f"{place} belongs to no variant in {shards.root}: {hint}")


def _canonical(written: str, shards: Shards) -> Variant | None:
    try:
        return shards.variant(written)
    except VariantError:
        return None


def read_classes(path: Path, keys: Sequence[str], offset: int = 0) -> NDArray[np.int64]:
    """Predicted labels (0-999) for these keys, best first: int64 of shape (keys, 1 or 5).

    The table has a `key` column, and `pred`, `top5` or `scores` (or a column for each class, named 0, 1, …); `offset`
    is what its class numbers are ahead of the labels by. Raises UsageError where keys are missing, unknown or there
    twice, and where classes or scores cannot be right.
    """
    place = {key: index for index, key in enumerate(keys)}
    found: NDArray[np.int64] | None = None
    seen = np.zeros(len(keys), np.int64)
    strange = _Count()
    for names, classes in _batches(path, offset):
        if found is None:
            found = np.zeros((len(keys), classes.shape[1]), np.int64)
        rows = np.array([place.get(name, -1) for name in names], np.int64)
        strange.add(name for name, row in zip(names, rows, strict=True) if row < 0)
        known = rows >= 0
        np.add.at(seen, rows[known], 1)
        found[rows[known]] = classes[known]
    _whole(path, keys, seen, strange)
    assert found is not None  # there are keys, and none is missing
    return found


class _Count:
    """How many there are, and the first."""

    def __init__(self) -> None:
        self.total = 0
        self.first = ""

    def add(self, names: Iterable[str]) -> None:
        for name in names:
            self.first = self.first if self.total else name
            self.total += 1


def _whole(path: Path, keys: Sequence[str], seen: NDArray[np.int64], strange: _Count) -> None:
    """Raises UsageError unless each key was seen once, and no other."""
    missing, twice = np.flatnonzero(seen == 0), np.flatnonzero(seen > 1)
    problems = []
    if len(missing):
        problems.append(f"lacks {len(missing):,} of {len(keys):,} keys (first: {keys[missing[0]]})")
    if len(twice):
        problems.append(f"has {len(twice):,} keys more than once (first: {keys[twice[0]]})")
    if strange.total:
        problems.append(f"has {strange.total:,} keys that its shards do not (first: {strange.first!r}{_hint(strange)})")
    if problems:
        raise UsageError(f"{path} {', '.join(problems)}: a score must be of every sample, once")


def _hint(strange: _Count) -> str:
    name = PurePosixPath(strange.first)
    return f"; keys are stems, as {name.stem!r}" if name.suffix or len(name.parts) > 1 else ""


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
                raise UsageError(f"{path} has {keys.null_count:,} rows without a key")
            yield [str(key) for key in keys.to_pylist()], _classes(path, batch, offset)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read ({first_line(error)}{_form(path)})") from None


def _form(path: Path) -> str:
    """What to say of a file that is JSON, but not JSON lines."""
    with open(path, "rb") as file:
        is_array = file.read(64).lstrip().startswith(b"[")
    return "; it is a JSON array: write one object a line instead" if is_array else ""


def _read(path: Path) -> Iterator[pa.RecordBatch]:
    # Names such as 000000000139 must stay text.
    text = {"key": pa.string()}
    if path.suffix.lower() == ".parquet":
        # Read as it is needed: a file is often one group of rows, larger than memory should be.
        yield from pq.ParquetFile(path, pre_buffer=False, buffer_size=_PAGE).iter_batches(batch_size=1024)
    elif path.suffix.lower() == ".csv":
        convert = pyarrow.csv.ConvertOptions(column_types=text)
        parse_options = pyarrow.csv.ParseOptions(newlines_in_values=_has_broken_lines(path))
        yield from pyarrow.csv.open_csv(path, pyarrow.csv.ReadOptions(block_size=_BLOCK), parse_options, convert)
    else:
        schema = pyarrow.json.ParseOptions(explicit_schema=pa.schema(text))
        yield from pyarrow.json.open_json(path, pyarrow.json.ReadOptions(block_size=_BLOCK), schema)


def _has_broken_lines(path: Path) -> bool:
    """Whether values of a CSV go over several lines, as long arrays are printed: to look out for it takes time."""
    with open(path, "rb") as file:
        lines = file.read(_PAGE).splitlines()
    return any(line.count(b'"') % 2 for line in lines[:-1])


def _classes(path: Path, batch: pa.RecordBatch, offset: int) -> NDArray[np.int64]:
    """The classes of a batch, best first, whichever way they are given."""
    columns = batch.schema.names
    numbered = [name for name in columns if name.isdecimal()]
    if "scores" in columns or numbered:
        return _best(path, batch, _scores(path, batch, numbered), offset)
    if "top5" in columns:
        classes = _integers(path, _matrix(path, batch, "top5"), "top5")
        if classes.shape[1] != 5:
            raise UsageError(f"{path}: top5 has {classes.shape[1]} classes a row, not 5")
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
            f"{path}: {count:,} predictions are outside {offset}–{CLASSES - 1 + offset} (first: {first}): labels are "
            "ImageNet's 0–999; give --class-offset 1 if the model's start at 1"
        )
    return classes


def _check_top5(path: Path, batch: pa.RecordBatch, classes: NDArray[np.int64]) -> None:
    """Raises UsageError where a class is among the five twice, or where `pred` is given too and is not the first."""
    ordered = np.sort(classes, axis=1)
    twice = np.count_nonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
    if twice:
        raise UsageError(f"{path}: {twice:,} rows of `top5` name a class twice")
    if "pred" in batch.schema.names:
        first = _integers(path, _column(path, batch, "pred"), "pred")
        other = np.count_nonzero(first != classes[:, 0])
        if other:
            raise UsageError(f"{path}: in {other:,} rows `pred` is not the first of `top5`")


def _integers(path: Path, values: NDArray[np.generic], column: str) -> NDArray[np.int64]:
    try:
        numbers = values.astype(np.float64)
        whole = (np.abs(numbers) < 2**31) & (numbers == np.floor(numbers))
    except (TypeError, ValueError):
        raise UsageError(f"{path}: `{column}` holds {str(values.flat[0])!r}, which is no class number") from None
    if not whole.all():
        raise UsageError(f"{path}: {np.count_nonzero(~whole):,} values of `{column}` are no class numbers (NaN?)")
    return numbers.astype(np.int64)


def _matrix(path: Path, batch: pa.RecordBatch, name: str) -> NDArray[np.generic]:
    """A column of lists (or, as CSV has it, of text: `1 2 3`, or as arrays are printed) as an array of shape (rows,
    length).
    """
    column = batch.column(name)
    if column.null_count:
        raise UsageError(f"{path}: {column.null_count:,} rows have no `{name}`")
    try:
        if pa.types.is_string(column.type):
            found = np.array([numbers(text) for text in column.to_pylist()])
            if found.dtype.kind not in "if":
                raise ValueError("not of numbers")
            return found
        if len(pc.list_value_length(column).unique()) != 1:
            raise ValueError("of several lengths")
        flat = column.flatten().to_numpy(zero_copy_only=False)
        return np.asarray(flat.reshape(len(column), -1))
    except ElidedError:
        raise UsageError(
            f"{path}: `{name}` has arrays that were printed with `...` in place of their middle: write them whole, as "
            "`row.tolist()`, or Parquet"
        ) from None
    except (ValueError, pa.ArrowException):
        raise UsageError(f"{path}: `{name}` must be a list of the same length in every row") from None


def _column(path: Path, batch: pa.RecordBatch, name: str) -> NDArray[np.generic]:
    """A column of numbers, which CSV may have as they are printed, as an array of shape (rows,)."""
    column = batch.column(name)
    if pa.types.is_string(column.type) and not column.null_count:
        try:
            return np.array([number for text in column.to_pylist() for (number,) in [numbers(text)]])
        except ValueError:  # which one it is, is said of the column as it is
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
        raise UsageError(f"{path}: the score columns hold something else than numbers") from None


def _best(path: Path, batch: pa.RecordBatch, scores: NDArray[np.float64], offset: int) -> NDArray[np.int64]:
    """The five classes with the highest scores; of equal scores, the lower class first."""
    if offset < 0:
        raise UsageError(f"{path}: --class-offset {offset} is for `pred` and `top5`; scores start at their first class")
    if scores.shape[1] - offset != CLASSES:
        hint = "; give --class-offset 1 if class 0 is background" if scores.shape[1] == CLASSES + 1 else ""
        raise UsageError(f"{path}: {scores.shape[1]} scores a row, but labels are ImageNet's {CLASSES}{hint}")
    bad = ~np.isfinite(scores).all(axis=1)
    if bad.any():
        first = batch.column("key")[int(np.flatnonzero(bad)[0])]
        raise UsageError(
            f"{path}: {np.count_nonzero(bad):,} rows have scores that are NaN or infinite (first: {first})"
        )
    return np.argsort(-scores[:, offset:], axis=1, kind="stable")[:, :5].astype(np.int64)


def label_map_paths(folder: Path, keys: Sequence[str]) -> Mapping[str, Path]:
    """The label-map PNG of each key in a folder. Raises UsageError unless each key has one, and no other is there."""
    found = {path.stem: path for path in folder.glob("*.png")}
    check_keys(folder, keys, found.keys())
    return found


def check_keys(path: Path, keys: Sequence[str], found: Collection[str]) -> None:
    """Raises UsageError unless predictions at `path`, which are of `found`, have each key, and no other."""
    seen = np.array([key in found for key in keys], np.int64)
    strange = _Count()
    strange.add(sorted(set(found) - set(keys)))
    _whole(path, keys, seen, strange)
