"""Parquet as on the Hub: images as bytes or {bytes, path}, with integer labels, in columns with common names.

`image` and `label` as in `ILSVRC/imagenet-1k`, `jpg` and `cls` as in converted WebDatasets, and others (`columns`).

Listing reads only the paths and labels. Reading a slice reads each row group that it needs once, row by row, and keeps
only what the slice still needs. Refuses files with more rows or longer names than sets of images have, and unpacks one
image at a time: a few bytes of Parquet can stand for any number of large cells.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import UsageError
from pipelines.generate.sources.base import (
    COMMON_SUFFIXES,
    UNKNOWN_LABEL,
    Listing,
    Missing,
    Sample,
    Source,
    key_of,
    oversized,
)
from pipelines.generate.sources.columns import Columns, columns_of
from pipelines.generate.sources.labels import CLASSES, no_labels
from pipelines.generate.sources.reading import Chore, Spread, here, unreadable
from pipelines.store import Place
from pipelines.text import first_line

SUFFIX, NAME = ".parquet", "Parquet files"

_MOST_ROWS = 10_000_000
_LONGEST_NAME = 4096
# Bytes of a slice's images held until their turn.
_MOST_HELD = 2**32
# Bytes read from a file at a time.
_PAGE = 2**20
# Bytes read at a time for a listing: its columns are small and far apart.
_SMALL_PAGE = 2**16
# About how many bytes of memory a sample takes, and how many seconds a file of some thousands of rows.
_SAMPLE, _SECONDS = 500, 0.1
# Exceptions of pyarrow for damaged files.
_ERRORS = (pa.ArrowException, OSError, ValueError, OverflowError)


def open_files(files: tuple[Place, ...], labels: Place | None, split: str, notes: tuple[str, ...]) -> Source:
    """The source of a split's Parquet files. Raises UsageError for a list of labels, which they have themselves."""
    no_labels(labels, "a Parquet file has its own labels")
    return ParquetSource(files, notes)


@dataclass(frozen=True)
class ParquetSource:
    """Parquet files of encoded images with labels."""

    files: tuple[Place, ...]
    notes: tuple[str, ...] = ()
    kind: str = "imagenet-parquet"

    def listing(self, spread: Spread = here) -> Listing:
        chore = Chore("listing", self.files[0], partial(_held, self.files), _SECONDS, _size)
        parts = spread(chore, range(len(self.files)))
        return Listing(itertools.chain.from_iterable(parts), [*self.notes])

    def group(self, sample: Sample) -> Hashable:
        return sample.place[:2]  # reading a row unpacks all earlier rows of its group

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        wanted: dict[tuple[int, int], list[int]] = defaultdict(list)
        for sample in samples:
            file, group, row = sample.place
            wanted[file, group].append(row)
        held: dict[tuple[int, int, int], bytes | Missing] = {}
        with contextlib.ExitStack() as stack:
            groups = _Groups(self.files, stack)
            for sample in samples:
                file, group, row = sample.place
                if sample.place not in held:
                    found = groups.read(file, group, wanted[file, group])
                    held.update(((file, group, row), data) for row, data in found.items())
                yield held.pop(sample.place)


def _held(files: Sequence[Place], number: int) -> list[Sample]:
    return list(_list(files[number], number))


def _size(samples: Sequence[Sample]) -> int:
    return _SAMPLE * len(samples)


def _list(place: Place, number: int) -> Iterator[Sample]:
    try:
        with place.open(_SMALL_PAGE) as opened, _parquet(opened) as file:
            columns = columns_of(place, file.schema_arrow)
            if file.metadata.num_rows > _MOST_ROWS:
                raise UsageError(f"{place} has {file.metadata.num_rows:,} rows: is it a validation set?")
            size = opened.seek(0, os.SEEK_END)
            stem = PurePosixPath(place.path).stem
            row = 0
            for group in range(file.num_row_groups):
                for index, (name, label) in enumerate(_names_and_labels(file, group, columns)):
                    yield _sample(place, name or f"{stem}-{row:08d}", label, size, (number, group, index))
                    row += 1
            if row != file.metadata.num_rows:
                raise ValueError(f"it has {row:,} rows, but its metadata says {file.metadata.num_rows:,}")
    except _ERRORS as error:
        raise UsageError(f"{place} cannot be read as Parquet ({first_line(error)})") from None


def _parquet(file: BinaryIO) -> pq.ParquetFile:
    return pq.ParquetFile(file, pre_buffer=False, buffer_size=_PAGE)


def _rows(file: pq.ParquetFile, group: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The rows of a group, one at a time, so that a cell that is repeated is in memory only once."""
    yield from file.iter_batches(batch_size=1, row_groups=[group], columns=columns, use_threads=False)


def _names_and_labels(file: pq.ParquetFile, group: int, columns: Columns) -> Iterator[tuple[str | None, int | None]]:
    for batch in _rows(file, group, columns.listed):
        name = _buffer(batch, columns.name) if columns.name else None
        if name is not None and name.size > _LONGEST_NAME:
            raise ValueError(f"it has a path of {name.size:,} bytes")
        yield name and name.to_pybytes().decode(), batch.column(columns.label)[0].as_py()


def _buffer(batch: pa.RecordBatch, column: str) -> pa.Buffer | None:
    """The bytes of the only row's cell, in a column or in a struct's field (`image.bytes`); None if it is null."""
    name, _, field = column.partition(".")
    value = batch.column(name)[0]
    if field and value.is_valid:
        value = value[field]
    return value.as_buffer() if value.is_valid else None


def _sample(file: Place, name: str, label: int | None, size: int, place: tuple[int, int, int]) -> Sample:
    known = UNKNOWN_LABEL if label is None else label
    if not UNKNOWN_LABEL <= known < CLASSES:
        raise UsageError(f"{file}: the label of {name} is {label!r}, which is not from 0 to {CLASSES - 1}")
    # Other suffixes stay in keys, as in shards made before those suffixes were supported.
    return Sample(key_of(name, COMMON_SUFFIXES), known, f"{file.name}/{name}", size, place)


class _Groups:
    """Reads row groups from several files, keeping the last file open."""

    def __init__(self, files: Sequence[Place], stack: contextlib.ExitStack) -> None:
        self._files = files
        self._stack = stack
        self._opened: tuple[int, pq.ParquetFile] | None = None

    def _open(self, number: int) -> pq.ParquetFile:
        if not self._opened or self._opened[0] != number:
            self._stack.close()
            self._opened = None
            file = self._stack.enter_context(self._files[number].open())
            self._opened = number, self._stack.enter_context(_parquet(file))
        return self._opened[1]

    def read(self, number: int, group: int, rows: Sequence[int]) -> dict[int, bytes | Missing]:
        """The images in some rows of a group. Raises SourceError if the file is no longer readable."""
        place = self._files[number]
        wanted, held = set(rows), 0
        found: dict[int, bytes | Missing] = {}
        missing = Missing("source: the row is not there")
        try:
            file = self._open(number)
            column = columns_of(place, file.schema_arrow).image
            for row, batch in zip(range(max(rows) + 1), _rows(file, group, [column]), strict=False):
                if row in wanted:
                    found[row] = data = _bytes(_buffer(batch, column))
                    held += len(data)
                    if held > _MOST_HELD:
                        raise ValueError(f"more than {_MOST_HELD:,} bytes of images in the rows of one shard")
        except _ERRORS as error:
            if getattr(error, "errno", None):  # Arrow's own errors, about damaged data, have none
                raise unreadable(place, error) from None
            missing = Missing(f"source: {place.name} cannot be read ({first_line(error)})")
        return {row: found.get(row, missing) for row in rows}


def _bytes(data: pa.Buffer | None) -> bytes | Missing:
    if data is None:
        return Missing("source: the row holds no image bytes")
    return oversized(data.size) or data.to_pybytes()
