"""A variant's manifest, derived from its records and nothing else, so it can be derived again and compared."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.canonical import digest, readable_json
from manifests.place import Place
from manifests.row import Residuals
from manifests.schema import (
    SUMMARY,
    TABLE,
    TIMM,
    Columns,
    ManifestError,
    Recipe,
    Record,
)
from manifests.splits import split_of
from manifests.untrusted import MOST_ROWS, read_groups

# Rows converted to Python objects at a time.
_FEW = 1000
# Row groups of a table. The writer keeps 39 kB of metadata for each until it closes: one group for each of 100,000
# shards would take 4 GB.
_MOST_GROUPS = 10_000


def read_records(places: Iterable[Place]) -> Iterator[Record]:
    """The records in these files, one at a time. Raises ManifestError for a damaged record."""
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


@dataclass(frozen=True)
class Part:
    """What one record contributes to the manifest: made where the record is read, then joined in shard order.

    `shards` is the variant's number of shards, `shard` this shard's entry in the summary, `table` its rows, and
    `digests` the bytes that it adds to the digest of all results.
    """

    recipe: Recipe
    shards: int
    shard: dict[str, Any]
    table: pa.Table
    digests: bytes
    residuals: Residuals

    @property
    def size(self) -> int:
        """Approximate size in memory, in bytes."""
        return int(self.table.nbytes) + len(self.digests)


def part_of(record: Columns) -> Part:
    """A record's contribution to the manifest."""
    cells, kind = record.cells, record.recipe.kind
    shard = {
        "name": f"{record.name}.tar",
        "bytes": record.tar_bytes,
        "sha256": record.tar_sha256,
        "record_sha256": record.sha256,
        "samples": record.samples,
        "failed": record.failed,
    }
    table = pa.table({name: cells[name] for name in record.schema.names}, schema=record.schema)
    for name in kind.drawn:
        if (tokens := [extra.get(name) for extra in cells["extra"]]) and all(isinstance(one, str) for one in tokens):
            table = table.append_column(name, pa.array(tokens, pa.string()))
    digests = "".join(map("{} {}\n".format, cells["key"], cells[kind.digest])).encode()
    residuals = kind.residuals(record.samples, *(cells[name] for name in kind.residual_columns))
    return Part(record.recipe, record.shards, shard, table, digests, residuals)


def derive(records: Iterable[Record]) -> Manifest:
    """The manifest of a variant from all of its records, which are read one at a time in shard order."""
    buffer = io.BytesIO()
    summary = write_table((part_of(record.by_column) for record in records), buffer)
    return Manifest(summary, buffer.getvalue())


def write_table(parts: Iterable[Part], file: BinaryIO) -> dict[str, Any]:
    """Write a variant's table to a file, part by part in shard order, and return the summary.

    The columns are the first record's: all records of one recipe were made by the same code.
    """
    recipe: Recipe | None = None
    writer: _Writer | None = None
    shards: list[dict[str, Any]] = []
    totals = {"samples": 0, "failed": 0, "bytes": 0}
    residuals: Residuals | None = None
    digests = hashlib.sha256()
    with contextlib.ExitStack() as stack:
        for part in parts:
            recipe = part.recipe
            writer = writer or stack.enter_context(contextlib.closing(_Writer(file, part)))
            shards.append(part.shard)
            for name in totals:
                totals[name] += part.shard[name]
            digests.update(part.digests)
            residuals = residuals + part.residuals if residuals else part.residuals
            writer.add(part.table)
    if recipe is None or residuals is None:
        raise ManifestError("there is no record to derive a manifest from")
    return {
        "name": recipe.name,
        "variant": recipe.variant,
        **recipe.kind.about(recipe.config),
        "config": recipe.config,
        "config_sha256": digest(recipe.config),
        "provenance": recipe.provenance,
        "shards": shards,
        "totals": totals,
        "residual": residuals.summary(),
        # Variants with the same digest produce the same result for every sample: they are degenerate.
        recipe.kind.digest_of_all: digests.hexdigest(),
    }


class _Writer:
    """The table's file: one row group for each shard, or for several shards if there are very many.

    A row group's rows are held in memory until it is written.
    """

    def __init__(self, file: BinaryIO, first: Part) -> None:
        self._columns = first.table.schema
        self._file = pq.ParquetWriter(file, self._columns, compression="zstd")
        self._together = -(-first.shards // _MOST_GROUPS)
        self._waiting: list[pa.Table] = []

    def add(self, rows: pa.Table) -> None:
        for column in self._columns:
            if column.name not in rows.column_names:
                rows = rows.append_column(column, pa.nulls(len(rows), column.type))
        rows = rows.select(self._columns.names)
        if self._waiting and sum(map(len, self._waiting)) + len(rows) > MOST_ROWS:
            self._write()
        self._waiting.append(rows)
        if len(self._waiting) == self._together:
            self._write()

    def _write(self) -> None:
        rows = pa.concat_tables(self._waiting)
        self._file.write_table(rows, row_group_size=max(1, len(rows)))
        self._waiting = []

    def close(self) -> None:
        if self._waiting:
            self._write()
        self._file.close()


def table_differences(held: bytes, derived: bytes) -> Iterator[tuple[str, str]]:
    """Where a table differs from the derived one: the sample's key (empty for the whole table) and what is wrong.

    Raises ValueError if the file is not a Parquet table with these columns.
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
    """The files that describe a variant's table, by name."""
    shards, split = summary["shards"], split_of(summary["config"])
    # timm's description of the split (`timm.data.readers.reader_wds`). It counts the samples that were made.
    timm = {
        "splits": {
            split: {
                "name": split,
                "num_samples": summary["totals"]["samples"],
                "filenames": [shard["name"] for shard in shards],
                "shard_lengths": [shard["samples"] for shard in shards],
            }
        }
    }
    return {SUMMARY: readable_json(summary), TIMM: readable_json(timm)}
