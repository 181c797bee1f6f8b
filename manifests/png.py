"""A fast reader for PNGs as shards store them, at a third of a decoder's cost. It leaves all others to a decoder.

It follows the standard (W3C, *Portable Network Graphics*, third edition) and uses ISA-L's inflate. It reads chunks and
their checksums, a stream of one deflate block or of stored blocks with its checksum, and the two filters that fpng
writes, and nothing else. The pixels that it returns are those that any decoder returns.
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
_OWN = b"fdEC"  # ancillary chunk by which fpng's decoder recognises its own files
# RFC 1950, section 2.2, as a fast compressor writes it: a window of 32 KiB, the size that ISA-L always assumes.
ZLIB = b"\x78\x01"
# The header of a stored (uncompressed) block that follows another stored block (RFC 1951, section 3.2.4): whether it is
# the last, its length, and the length inverted.
STORED, MOST_STORED = struct.Struct("<BHH"), 0xFFFF
_LAST_BLOCK = 1  # RFC 1951, section 3.2.3: in a block's first bits
_CODES = 600  # bytes: more than precede the first symbol (section 3.2.7)
_IMAGE = struct.Struct(">2I5B")  # section 11.2.1
_LENGTH_AND_KIND, _CHECKSUM = struct.Struct(">I4s"), struct.Struct(">I")


def header(height: int, width: int) -> bytes:
    """The header of an RGB image: 8 bits, truecolour, deflate, adaptive filters, not interlaced (section 11.2.1)."""
    return _IMAGE.pack(width, height, 8, 2, 0, 0, 0)


def read(data: bytes) -> NDArray[np.uint8] | None:
    """RGB pixels (height, width, 3) of a PNG as shards store it; None for one that is damaged or needs a decoder."""
    try:
        described, *parts = chunks(data)
        width, height, *_ = _IMAGE.unpack(described)
        # Pillow warns about or refuses larger images.
        if described != header(height, width) or not 0 < width * height <= (Image.MAX_IMAGE_PIXELS or 0):
            return None
        stream = parts[0] if len(parts) == 1 else memoryview(b"".join(parts))
        if stream[0] != ZLIB[0] or not (stream[2] & _LAST_BLOCK or _is_stored(stream)):
            return None
        # ISA-L accepts incomplete Huffman codes, which zlib refuses: let zlib check those of the block.
        zlib.decompressobj().decompress(stream[:_CODES], 1)
        inflate, size = IgzipDecompressor(flag=DECOMP_ZLIB), height * (3 * width + 1)
        inflated = inflate.decompress(stream, max_length=size + 1)
    except Exception:  # ISA-L has its own exception; whatever is wrong, the decoder reports it
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
    """Whether a zlib stream consists of stored blocks only. Raises struct.error if it is cut short."""
    at, last = len(ZLIB), 0
    while not last:
        last, length, _ = STORED.unpack_from(stream, at)
        if last > 1:
            return False
        at += STORED.size + length
    return at + _CHECKSUM.size == len(stream)


def _summed(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Running sums down the rows, modulo 256: within all blocks of rows at once, then from block to block."""
    size = math.isqrt(len(rows))
    count, width = len(rows) // size, rows.shape[1]
    whole = count * size
    found = np.empty(rows.shape, np.uint8)
    # The first row of every block, then the second of every block, and so on: each addition is contiguous in memory.
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
    """The content of the header chunk, then of each data chunk. Raises ValueError or struct.error for anything else."""
    if not data.startswith(SIGNATURE):
        raise ValueError("not a PNG")
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
        raise ValueError("has chunks that have to be interpreted")
