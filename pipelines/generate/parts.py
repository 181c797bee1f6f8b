"""Parts of shards: what workers have made of some of a shard's samples, kept until the shard can be joined.

For each variant, a part has the samples' members as they will be in the tar, and their rows. It is one file, laid out
so that joining some of the variants does not read the others: segments of a few megabytes, in each of which a variant's
members are contiguous; then the rows of each variant; then an index of both, and in the last bytes the index's length
and checksum. Parts are read only by the run that wrote them. Reading checks that a part is what was written, since the
shard made from it will be declared whole.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, BinaryIO

from isal import isal_zlib

from manifests.row import Kind, Row
from pipelines.store import BLOCK, Pieces

# Bytes buffered in memory before they are written, variant by variant.
_SEGMENT = 2**24
# The index's length and its CRC-32.
_END = struct.Struct(">QI")

# A range of the file: offset and length in bytes, and its CRC-32.
_Range = tuple[int, int, int]


class PartWriter:
    """Writes a part to an open file, which it does not close."""

    def __init__(self, file: BinaryIO, names: Sequence[str]) -> None:
        self._file = file
        self._at = self._waiting = 0
        self._members: dict[str, list[bytes]] = {name: [] for name in names}
        self._ranges: dict[str, list[_Range]] = {name: [] for name in names}
        self._rows: dict[str, list[Row]] = {name: [] for name in names}

    def add(self, name: str, row: Row, members: bytes) -> None:
        """Add a variant's next sample: its row, and its members, which may be empty."""
        self._rows[name].append(row)
        self._members[name].append(members)
        self._waiting += len(members)

    def end_sample(self) -> None:
        """Every variant has been given the current sample."""
        if self._waiting >= _SEGMENT:
            self._flush()

    def close(self) -> None:
        """Write what is buffered, the rows and the index."""
        self._flush()
        rows = {name: self._write(_rows_to_json(rows)) for name, rows in self._rows.items()}
        about = json.dumps({name: [rows[name], ranges] for name, ranges in self._ranges.items()}).encode()
        self._write(about + _END.pack(len(about), isal_zlib.crc32(about)))

    def _flush(self) -> None:
        for name, members in self._members.items():
            if any(members):
                self._ranges[name].append(self._write(*members))
            members.clear()
        self._waiting = 0

    def _write(self, *several: bytes) -> _Range:
        begin, found = self._at, 0
        for data in several:
            self._file.write(data)
            self._at += len(data)
            found = isal_zlib.crc32(data, found)
        return begin, self._at - begin, found


class Part:
    """A whole part, of a set of this kind. Raises ValueError if it is damaged."""

    def __init__(self, pieces: Pieces, kind: Kind) -> None:
        self._pieces, self._kind = pieces, kind
        end = pieces.size - _END.size
        if end < 0:
            raise ValueError("it has no end")
        length, wanted = _END.unpack(pieces.read(end, _END.size))
        about = b"".join(self._read((max(0, end - length), length, wanted)))
        self._about: dict[str, tuple[_Range, list[_Range]]] = json.loads(about)

    def members(self, name: str) -> Iterator[bytes]:
        """A variant's members in order, a block at a time."""
        for where in self._about[name][1]:
            yield from self._read(where)

    def rows(self, name: str) -> list[Row]:
        """A variant's rows in order."""
        columns: dict[str, list[Any]] = json.loads(b"".join(self._read(self._about[name][0])))
        return list(self._kind.rows(columns))

    def _read(self, where: _Range) -> Iterator[bytes]:
        offset, length, wanted = where
        found = 0
        for start in range(0, length, BLOCK):
            data = self._pieces.read(offset + start, min(BLOCK, length - start))
            if not data:
                raise ValueError("it ends too early")
            found = isal_zlib.crc32(data, found)
            yield data
        if found != wanted:
            raise ValueError("it is not what was written")


def _rows_to_json(rows: Sequence[Row]) -> bytes:
    names = [field.name for field in fields(rows[0])] if rows else []
    return json.dumps({name: [getattr(row, name) for row in rows] for name in names}).encode()
