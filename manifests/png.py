"""PNGs as shards have them, read at a third of a decoder's cost, and all others left to a decoder.

It goes by the standard (W3C, *Portable Network Graphics*, third edition) and by ISA-L's inflate: the chunks and their
checksums, one block of deflate, or such as are not compressed, with their checksum, and the two filters that fpng
writes. Whatever else a PNG may have it does not read: what it gives is what any decoder gives.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from isal import isal_zlib
from isal.igzip_lib import DECOMP_ZLIB, IgzipDecompressor
from numpy.typing import NDArray
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"  # section 5.2
NONE, UP = 0, 2  # section 9.2, filter types
_OWN = b"fdEC"  # ancillary: by it, fpng's decoder knows its own files
# RFC 1950, section 2.2, of a fast compressor: a window of 32 KiB, which ISA-L takes every window to be of.
ZLIB = b"\x78\x01"
# A block that is not compressed, where the one before it was none either (RFC 1951, section 3.2.4): whether it is the
# last, its length, and that inverted.
STORED, MOST_STORED = struct.Struct("<BHH"), 0xFFFF
_LAST_BLOCK = 1  # RFC 1951, section 3.2.3: in a block's first bits
_CODES = 600  # bytes: more than what stands before the first symbol (section 3.2.7)
_IMAGE = struct.Struct(">2I5B")  # section 11.2.1
_LENGTH_AND_KIND, _CHECKSUM = struct.Struct(">I4s"), struct.Struct(">I")


def header(height: int, width: int) -> bytes:
    """The header of an RGB image: 8 bits, truecolour, deflate, adaptive filters, not interlaced (section 11.2.1)."""
    return _IMAGE.pack(width, height, 8, 2, 0, 0, 0)


def read(data: bytes) -> NDArray[np.uint8] | None:
    """RGB pixels (height, width, 3) of a PNG as shards have it; None where that takes a decoder, or finds fault."""
    try:
        described, *parts = chunks(data)
        width, height, *_ = _IMAGE.unpack(described)
        # Of more pixels, Pillow has something to say.
        if described != header(height, width) or not 0 < width * height <= (Image.MAX_IMAGE_PIXELS or 0):
            return None
        stream = parts[0] if len(parts) == 1 else memoryview(b"".join(parts))
        if stream[0] != ZLIB[0] or not (stream[2] & _LAST_BLOCK or _is_stored(stream)):
            return None
        # ISA-L takes codes that leave some bits without a meaning, which zlib refuses: it is to see those of the block.
        zlib.decompressobj().decompress(stream[:_CODES], 1)
        inflate, size = IgzipDecompressor(flag=DECOMP_ZLIB), height * (3 * width + 1)
        inflated = inflate.decompress(stream, max_length=size + 1)
    except Exception:  # ISA-L has one of its own; whatever is wrong, a decoder is to say it
        return None
    if len(inflated) != size or not inflate.eof or inflate.unused_data:
        return None
    rows = np.frombuffer(inflated, np.uint8).reshape(height, -1)
    filters, pixels = rows[:, 0], rows[:, 1:]
    if filters[0] not in (NONE, UP):
        return None
    if (filters[1:] == UP).all():
        pixels = _summed(pixels)
    elif filters[1:].any():
        return None
    return np.ascontiguousarray(pixels).reshape(height, width, 3)


def _is_stored(stream: memoryview) -> bool:
    """Whether a zlib stream is of blocks that are not compressed, and of nothing else. Raises struct.error for less."""
    at, last = len(ZLIB), 0
    while not last:
        last, length, _ = STORED.unpack_from(stream, at)
        if last > 1:
            return False
        at += STORED.size + length
    return at + _CHECKSUM.size == len(stream)


def _summed(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each row and all before it, modulo 256: the first rows of all blocks at once, and so on, then block by block."""
    size = math.isqrt(len(rows))
    count, width = len(rows) // size, rows.shape[1]
    whole = count * size
    found = np.empty(rows.shape, np.uint8)
    # Of each block the first row, then of each the second: what is added lies in one piece.
    within = rows[:whole].reshape(count, size, width).transpose(1, 0, 2).copy()
    for index in range(1, size):
        np.add(within[index], within[index - 1], out=within[index])
    before = np.zeros((count, width), np.uint8)
    for index in range(1, count):
        np.add(before[index - 1], within[-1, index - 1], out=before[index])
    np.add(within, before, out=found[:whole].reshape(count, size, width).transpose(1, 0, 2))
    for index in range(whole, len(rows)):
        np.add(found[index - 1], rows[index], out=found[index])
    return found


def chunks(data: bytes) -> Iterator[memoryview]:
    """What the header's chunk holds, then those of the image. Raises ValueError or struct.error for all else."""
    if not data.startswith(SIGNATURE):
        raise ValueError("no PNG")
    view, start, kinds = memoryview(data), len(SIGNATURE), list[bytes]()
    while start < len(data):
        length, kind = _LENGTH_AND_KIND.unpack_from(data, start)
        end = start + 8 + length
        if isal_zlib.crc32(view[start + 4 : end]) != _CHECKSUM.unpack_from(data, end)[0]:
            raise ValueError("a checksum is wrong")
        if kind in (b"IHDR", b"IDAT"):
            yield view[start + 8 : end]
        if kind != _OWN or kinds != [b"IHDR"]:
            kinds.append(kind)
        start = end + 4
    if kinds[:1] != [b"IHDR"] or kinds[-1:] != [b"IEND"] or {*kinds[1:-1]} != {b"IDAT"}:
        raise ValueError("chunks that have to be interpreted")
