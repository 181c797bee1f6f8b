"""Parquet tables, one bounded row group at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

# Rows of a table's row group, which are one shard's; bytes that one of their columns unpacks to; bytes of one text.
MOST_ROWS = 100_000
_LARGEST_CHUNK = 2**28
LONGEST_TEXT = 2**13


def read_groups(file: BinaryIO, schema: pa.Schema) -> Iterator[pa.Table]:
    """The columns of a Parquet file that a schema names, one row group at a time.

    Raises ValueError if the file lacks one of them, or if a row group has more rows or longer text than a shard can
    have, or unpacks to too much. Repeated text is unpacked once.
    """
    texts = [field.name for field in schema if field.type == pa.string()]
    try:
        _check_columns(pq.read_schema(file), schema)
        with pq.ParquetFile(file, read_dictionary=texts, pre_buffer=False) as opened:
            for group in range(opened.num_row_groups):
                _check_group(opened.metadata.row_group(group))
                table = opened.read_row_group(group, columns=schema.names, use_threads=False)
                for name in texts:
                    for chunk in table[name].chunks:
                        if (pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0) > LONGEST_TEXT:
                            raise ValueError(f"a text in {name} has more than {LONGEST_TEXT:,} bytes")
                yield table.cast(schema)
    except (pa.ArrowException, OSError, OverflowError) as error:
        if getattr(error, "errno", None):  # Arrow's own errors, about damaged data, have none
            raise
        raise ValueError(str(error)) from None


def _check_columns(held: pa.Schema, schema: pa.Schema) -> None:
    for field in schema:
        kind = held.field(field.name).type if held.names.count(field.name) == 1 else None
        if kind is not None and pa.types.is_dictionary(kind):
            kind = kind.value_type
        if kind != field.type:
            raise ValueError(f"it has no column {field.name} of {field.type}")


def _check_group(group: pq.RowGroupMetaData) -> None:
    if not 0 <= group.num_rows <= MOST_ROWS:
        raise ValueError(f"it has a row group of {group.num_rows:,} rows")
    for number in range(group.num_columns):
        if not 0 <= group.column(number).total_uncompressed_size <= _LARGEST_CHUNK:
            raise ValueError(f"it has a column of {group.column(number).total_uncompressed_size:,} bytes")
