"""Parquet in the layout of the Hub's `ILSVRC/imagenet-1k`: `image` = {bytes, path}, and an integer `label`.

Listing reads the paths and labels alone. Reading a slice reads each row group that it touches once, row by row, and
keeps of it only what the slice still needs. Refuses files whose metadata promise more than images and their names have,
and unpacks one image at a time: a few bytes of Parquet can stand for any number of large cells.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.errors import UsageError
from pipelines.generate.sources.base import UNKNOWN_LABEL, Listing, Missing, Sample, key_of, oversized, unreadable
from pipelines.generate.sources.labels import CLASSES
from pipelines.text import first_line

_MOST_ROWS = 10_000_000
_LONGEST_NAME = 4096
# Bytes of a row group's names or labels, and of its images: all of ImageNet's validation set have 6.7 GB.
_MOST_NAMES, _MOST_IMAGES = 2**28, 2**36
# Bytes of images of a slice that wait for their turn.
_MOST_HELD = 2**32
# Bytes that are read from a file at a time.
_PAGE = 2**20
# What pyarrow raises for damaged files.
_ERRORS = (pa.ArrowException, OSError, ValueError, OverflowError)


@dataclass(frozen=True)
class ParquetSource:
    """Parquet files of encoded images with labels."""

    files: tuple[str, ...]
    kind: str = "imagenet-parquet"

    def listing(self) -> Listing:
        return Listing([sample for file in self.files for sample in _list(Path(file))], [])

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        wanted: dict[tuple[str, int], list[int]] = defaultdict(list)
        for sample in samples:
            file, group, row = sample.place
            wanted[file, group].append(row)
        held: dict[tuple[str, int, int], bytes | Missing] = {}
        for sample in samples:
            file, group, row = sample.place
            if sample.place not in held:
                held.update(_read_group(file, group, wanted[file, group]))
            yield held.pop(sample.place)


def _list(path: Path) -> Iterator[Sample]:
    try:
        metadata = pq.read_metadata(path)
        columns = _columns(path, metadata.schema.to_arrow_schema())
        # Names as a dictionary: one of them may stand in every row.
        with pq.ParquetFile(path, metadata=metadata, read_dictionary=columns[:-1]) as file:
            if sum(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)) > _MOST_ROWS:
                raise UsageError(f"{path} has more than {_MOST_ROWS:,} rows: is it a validation set?")
            size = path.stat().st_size
            row = 0
            for group in range(metadata.num_row_groups):
                for index, (name, label) in enumerate(_names_and_labels(file, group, columns)):
                    yield _sample(path, name or f"{path.stem}-{row:08d}", label, size, (str(path), group, index))
                    row += 1
    except _ERRORS as error:
        raise UsageError(f"{path} cannot be read as Parquet ({first_line(error)})") from None


def _columns(path: Path, schema: pa.Schema) -> list[str]:
    """The columns that a listing needs. Raises UsageError where the file is none of images with labels."""
    image = _only(schema, "image")
    inside = {field.name: field.type for field in image or () if pa.types.is_struct(image)}
    label, data, name = _only(schema, "label"), inside.get("bytes"), inside.get("path")
    has_images = data is not None and (pa.types.is_binary(data) or pa.types.is_large_binary(data))
    has_labels = label is not None and pa.types.is_integer(label)
    if image is None or len(inside) != image.num_fields or not has_images or not has_labels:
        raise UsageError(f"{path} has no columns `image` (with `bytes` and `path`) and integer `label`")
    if name is None:
        return ["label"]
    text = name.value_type if pa.types.is_dictionary(name) else name
    if not pa.types.is_string(text) and not pa.types.is_large_string(text):
        raise UsageError(f"{path}: `path` in `image` is no text")
    return ["image.path", "label"]


def _only(schema: pa.Schema, name: str) -> pa.DataType | None:
    return schema.field(name).type if schema.names.count(name) == 1 else None


def _check_group(file: pq.ParquetFile, group: int, columns: Sequence[str], most: int) -> None:
    """Raises ValueError where some columns of a row group say that they have more than `most` bytes, or other rows."""
    held = file.metadata.row_group(group)
    for column in map(held.column, range(held.num_columns)):
        if column.path_in_schema in columns:
            if column.num_values != held.num_rows or held.num_rows < 0:
                raise ValueError(f"its metadata contradict one another in {column.path_in_schema}")
            if column.total_uncompressed_size > most:
                raise ValueError(f"{column.total_uncompressed_size:,} bytes of {column.path_in_schema} in a row group")


def _names_and_labels(file: pq.ParquetFile, group: int, columns: list[str]) -> Iterator[tuple[str | None, int | None]]:
    _check_group(file, group, columns, _MOST_NAMES)
    for batch in file.iter_batches(row_groups=[group], columns=columns, use_threads=False):
        labels = batch.column("label").to_pylist()
        names = [None] * len(labels)
        if len(columns) > 1:
            (paths,) = batch.column("image").flatten()
            different = paths.dictionary if pa.types.is_dictionary(paths.type) else paths
            if (pc.max(pc.binary_length(different)).as_py() or 0) > _LONGEST_NAME:
                raise ValueError(f"a path of more than {_LONGEST_NAME:,} bytes")
            names = paths.to_pylist()
        yield from zip(names, labels, strict=True)


def _sample(path: Path, name: str, label: int | None, size: int, place: tuple[str, int, int]) -> Sample:
    known = UNKNOWN_LABEL if label is None else label
    if not UNKNOWN_LABEL <= known < CLASSES:
        raise UsageError(f"{path}: the label of {name} is {label!r}, not one from 0 to {CLASSES - 1}")
    return Sample(key_of(name), known, f"{path.name}/{name}", size, place)


def _read_group(path: str, group: int, rows: Sequence[int]) -> dict[tuple[str, int, int], bytes | Missing]:
    wanted, held = set(rows), 0
    found: dict[int, bytes | Missing] = {}
    lacking = Missing("source: the row is not there")
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=_PAGE) as file:
            for row, cell in _cells(file, group, max(rows)):
                if row in wanted:
                    found[row] = data = _bytes(cell)
                    held += len(data)
                    if held > _MOST_HELD:
                        raise ValueError(f"more than {_MOST_HELD:,} bytes of images in one shard's rows")
    except _ERRORS as error:
        if getattr(error, "errno", None):  # Arrow's own errors, of damaged data, have none
            raise unreadable(path, error) from None
        lacking = Missing(f"source: {Path(path).name} cannot be read ({first_line(error)})")
    return {(path, group, row): found.get(row, lacking) for row in rows}


def _cells(file: pq.ParquetFile, group: int, last: int) -> Iterator[tuple[int, pa.StructScalar]]:
    """The rows of a group up to the last that is wanted, one in memory at a time."""
    _check_group(file, group, ["image.bytes"], _MOST_IMAGES)
    batches = file.iter_batches(batch_size=1, row_groups=[group], columns=["image.bytes"], use_threads=False)
    cells = (cell for batch in batches for cell in batch.column("image"))
    return zip(range(last + 1), cells, strict=False)


def _bytes(cell: pa.StructScalar) -> bytes | Missing:
    data = cell["bytes"] if cell.is_valid else None
    if data is None or not data.is_valid:
        return Missing("source: the row holds no image bytes")
    view = memoryview(data.as_buffer())
    return oversized(len(view)) or bytes(view)
