"""A variant's manifest, derived from its records and nothing else, so that it can be derived again and compared."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.place import Place
from manifests.schema import (
    SPLIT,
    SUMMARY,
    TABLE,
    TIMM,
    ManifestError,
    Recipe,
    Record,
    Row,
    digest,
    readable_json,
)
from manifests.untrusted import read_groups

# Rows that are Python's objects at a time.
_FEW = 1000


def read_records(places: Iterable[Place]) -> Iterator[Record]:
    """The records in these files, one at a time. Raises ManifestError for a damaged one."""
    for place in places:
        yield Record.read(place)


@dataclass(frozen=True)
class Manifest:
    """The three files that describe a whole variant, as bytes, and the summary as a value."""

    summary: dict[str, Any]
    table: bytes

    @property
    def files(self) -> dict[str, bytes]:
        return {TABLE: self.table, **descriptions(self.summary)}


def table_of(rows: Sequence[Row], columns: pa.Schema) -> pa.Table:
    """Rows as an Arrow table with a manifest's columns."""
    arrays = {name: [getattr(row, name) for row in rows] for name in columns.names}
    return pa.table(arrays, schema=columns)


def derive(records: Iterable[Record]) -> Manifest:
    """The manifest of a variant from all of its records, read one at a time in shard order."""
    buffer = io.BytesIO()
    summary = write_table(records, buffer)
    return Manifest(summary, buffer.getvalue())


def write_table(records: Iterable[Record], file: BinaryIO) -> dict[str, Any]:
    """Write a variant's table into a file, record by record, and give back its summary.

    The columns are those of the first record: all records of one recipe were made by the same code.
    """
    recipe: Recipe | None = None
    writer: pq.ParquetWriter | None = None
    shards: list[dict[str, Any]] = []
    totals = {"samples": 0, "failed": 0, "bytes": 0}
    residuals = _Residuals()
    pixels = hashlib.sha256()
    with contextlib.ExitStack() as stack:
        for record in records:
            recipe = record.recipe
            columns = writer.schema if writer else record.columns
            writer = writer or stack.enter_context(pq.ParquetWriter(file, columns, compression="zstd"))
            failed = len(record.rows) - record.samples
            shards.append(
                {
                    "name": f"{record.name}.tar",
                    "bytes": record.tar_bytes,
                    "sha256": record.tar_sha256,
                    "record_sha256": record.sha256,
                    "samples": record.samples,
                    "failed": failed,
                }
            )
            totals["samples"] += record.samples
            totals["failed"] += failed
            totals["bytes"] += record.tar_bytes
            for row in record.rows:
                pixels.update(f"{row.key} {row.pixel_sha256}\n".encode())
                residuals.add(row)
            writer.write_table(table_of(record.rows, columns), row_group_size=max(1, len(record.rows)))
    if recipe is None:
        raise ManifestError("there is no record to derive a manifest from")
    return {
        "name": recipe.name,
        "variant": recipe.variant,
        "geometry": {"name": recipe.config.get("geometry"), "size": recipe.config.get("size")},
        "config": recipe.config,
        "config_sha256": digest(recipe.config),
        "provenance": recipe.provenance,
        "shards": shards,
        "totals": totals,
        "residual": residuals.summary(),
        # Variants with the same digest have the same pixels on every sample: they are degenerate.
        "pixels_sha256": pixels.hexdigest(),
    }


def table_differences(held: bytes, derived: bytes) -> Iterator[tuple[str, str]]:
    """Where a table is not the one that was derived: keys, empty for the whole of it, and what is wrong there.

    Raises ValueError where it is no such table at all.
    """
    try:
        about = pq.read_metadata(io.BytesIO(held))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(str(error)) from None
    expected = pq.read_metadata(io.BytesIO(derived))
    if (about.num_rows, about.num_columns) != (expected.num_rows, expected.num_columns):
        yield (
            "",
            f"has {about.num_rows} rows of {about.num_columns} columns, but the records say "
            f"{expected.num_rows} of {expected.num_columns}",
        )
        return
    columns = expected.schema.to_arrow_schema()
    mine, theirs = (_rows(read_groups(io.BytesIO(data), columns)) for data in (held, derived))
    for found, right in zip(mine, theirs, strict=True):
        for column, value in right.items():
            if found[column] != value:
                yield right["key"], f"{column} is {found[column]}, but the record says {value}"


def _rows(tables: Iterable[pa.Table]) -> Iterator[dict[str, Any]]:
    for table in tables:
        for batch in table.to_batches(_FEW):
            yield from batch.to_pylist()


def descriptions(summary: dict[str, Any]) -> dict[str, bytes]:
    """The files that say what a variant's table holds, by name."""
    shards = summary["shards"]
    # timm's description of the split (`timm.data.readers.reader_wds`): counts of the samples that are there.
    timm = {
        "splits": {
            SPLIT: {
                "name": SPLIT,
                "num_samples": summary["totals"]["samples"],
                "filenames": [shard["name"] for shard in shards],
                "shard_lengths": [shard["samples"] for shard in shards],
            }
        }
    }
    return {SUMMARY: readable_json(summary), TIMM: readable_json(timm)}


class _Sum:
    """The exact sum of any number of floats, as `math.fsum` has it, which takes all of them at once.

    Holds what is left over of each addition (Shewchuk, *Adaptive precision floating-point arithmetic*, 1997): the parts
    do not overlap, so that there are few, and their sum is exact.
    """

    def __init__(self) -> None:
        self._parts: list[float] = []

    def add(self, value: float) -> None:
        kept = []
        for part in self._parts:
            if abs(value) < abs(part):
                value, part = part, value
            high = value + part
            if low := part - (high - value):
                kept.append(low)
            value = high
        self._parts = [*kept, value]

    @property
    def total(self) -> float:
        return math.fsum(self._parts)


class _Residuals:
    """Running means and maxima over the rows that could be compared with the reference."""

    def __init__(self) -> None:
        self.samples = 0
        self.compared = 0
        self.same = 0
        self.max = 0
        self.mean = _Sum()
        self.changed = _Sum()

    def add(self, row: Row) -> None:
        self.samples += row.status == "ok"
        if row.residual_mean_abs is None or row.residual_max_abs is None or row.residual_changed is None:
            return
        self.compared += 1
        self.same += row.residual_max_abs == 0
        self.max = max(self.max, row.residual_max_abs)
        self.mean.add(row.residual_mean_abs)
        self.changed.add(row.residual_changed)

    def summary(self) -> Mapping[str, Any]:
        count = self.compared
        return {
            "compared": count,
            "mean_abs": self.mean.total / count if count else None,
            "max_abs": self.max if count else None,
            "changed": self.changed.total / count if count else None,
            # True where every sample has the reference's pixels.
            "degenerate": self.same == self.samples if self.samples else None,
        }
