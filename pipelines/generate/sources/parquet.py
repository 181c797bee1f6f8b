"""Parquet in the layout of the Hub's `ILSVRC/imagenet-1k`: `image` = {bytes, path}, and an integer `label`.

Listing reads the paths and labels alone. Reading a slice reads each row group that it touches once, and keeps of it
only what the slice still needs.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import UsageError
from pipelines.generate.sources.base import UNKNOWN_LABEL, Listing, Missing, Sample, key_of
from pipelines.generate.sources.labels import CLASSES
from pipelines.generate.sources.reading import in_order, unreadable
from pipelines.store import Place

# Bytes that are fetched at a time for a listing: the columns that it needs are small and lie far apart.
_FOOTER = 2**16


@dataclass(frozen=True)
class ParquetSource:
    """Parquet files of encoded images with labels."""

    files: tuple[Place, ...]
    kind: str = "imagenet-parquet"

    def listing(self) -> Listing:
        def held(number: int) -> list[Sample]:
            return list(_list(self.files[number], number))

        parts = in_order(self.files[0], range(len(self.files)), held)
        return Listing(list(itertools.chain.from_iterable(parts)), [])

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
                    rows = wanted[file, group]
                    held.update(
                        ((file, group, row), data)
                        for row, data in zip(rows, groups.read(file, group, rows), strict=True)
                    )
                yield held.pop(sample.place)


def _list(place: Place, number: int) -> Iterator[Sample]:
    try:
        with place.open(_FOOTER) as opened, pq.ParquetFile(opened) as file:
            names = set(file.schema_arrow.names)
            image = file.schema_arrow.field("image").type if "image" in names else None
            inside = {field.name for field in image} if image is not None and pa.types.is_struct(image) else set()
            if "bytes" not in inside or "label" not in names:
                raise UsageError(f"{place} has no columns `image` (with `bytes` and `path`) and `label`")
            size = opened.seek(0, os.SEEK_END)
            row = 0
            for group in range(file.num_row_groups):
                columns = ["image.path", "label"] if "path" in inside else ["label"]
                table = file.read_row_group(group, columns=columns)
                images = table["image"].to_pylist() if "path" in inside else [None] * table.num_rows
                paths = [(value or {}).get("path") for value in images]
                for index, (name, label) in enumerate(zip(paths, table["label"].to_pylist(), strict=True)):
                    stem = PurePosixPath(place.path).stem
                    yield _sample(place, name or f"{stem}-{row:08d}", label, size, (number, group, index))
                    row += 1
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{place} cannot be read as Parquet ({str(error).splitlines()[0]})") from None


def _sample(file: Place, name: str, label: int | None, size: int, place: tuple[int, int, int]) -> Sample:
    known = UNKNOWN_LABEL if label is None else label
    if not isinstance(known, int) or not UNKNOWN_LABEL <= known < CLASSES:
        raise UsageError(f"{file}: the label of {name} is {label!r}, not one from 0 to {CLASSES - 1}")
    return Sample(key_of(name), known, f"{file.name}/{name}", size, place)


class _Groups:
    """Row groups of several files, of which the last one is kept open."""

    def __init__(self, files: Sequence[Place], stack: contextlib.ExitStack) -> None:
        self._files = files
        self._stack = stack
        self._opened: tuple[int, pq.ParquetFile] | None = None

    def _open(self, number: int) -> pq.ParquetFile:
        if not self._opened or self._opened[0] != number:
            self._stack.close()
            file = self._stack.enter_context(self._files[number].open())
            self._opened = number, self._stack.enter_context(pq.ParquetFile(file))
        return self._opened[1]

    def read(self, number: int, group: int, rows: Sequence[int]) -> list[bytes | Missing]:
        """The images in some rows of a group. Raises SourceError where the file is not there any more."""
        place = self._files[number]
        try:
            file = self._open(number)
            images = file.read_row_group(group, columns=["image.bytes"])["image"].take(pa.array(rows))
        except (pa.ArrowException, OSError) as error:
            if getattr(error, "errno", None):  # Arrow's own errors, of damaged data, have none
                raise unreadable(place, error) from None
            return [Missing(f"source: {place.name} cannot be read ({str(error).splitlines()[0]})")] * len(rows)
        values = [(value or {}).get("bytes") for value in images.to_pylist()]
        return [Missing("source: the row holds no image bytes") if data is None else data for data in values]
