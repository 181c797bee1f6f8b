"""PNGs assembled by hand from the standard's chunks."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(header: bytes, *parts: bytes) -> bytes:
    """A PNG of a header and chunks."""
    return b"".join((SIGNATURE, chunk(b"IHDR", header), *parts, chunk(b"IEND", b"")))


def assembled(filters: Sequence[int], *more: bytes) -> bytes:
    """A PNG of zeros, three pixels wide, with a filter for each row, and chunks before the image data."""
    rows = b"".join(bytes([kind, *[0] * 9]) for kind in filters)
    header = struct.pack(">2I5B", 3, len(filters), 8, 2, 0, 0, 0)
    return png(header, *more, chunk(b"IDAT", zlib.compress(rows)))
