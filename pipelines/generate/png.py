"""PNG by fpng, a proof that a PNG holds certain pixels that costs a third of decoding it, and a reader of such PNGs.

The proof goes by the standard (W3C, *Portable Network Graphics*, third edition) and by ISA-L's inflate, neither of them
fpng's: the chunks and their checksums, then every byte of the inflated rows against what their filter makes of the
pixels. It knows the two filters that fpng writes; of anything else it says no, and a decoder has the last word. The
reader goes by the same, at half of a decoder's cost, and leaves all else to one.
"""

from __future__ import annotations

import importlib.metadata
import math
import struct
from collections.abc import Iterator

import fpng
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from generators.geometry import MAX_PIXELS

_SIGNATURE = b"\x89PNG\r\n\x1a\n"  # section 5.2
_NONE, _UP = 0, 2  # section 9.2, filter types
_OWN = b"fdEC"  # ancillary: by it, fpng's decoder knows its own files


def write(image: NDArray[np.uint8]) -> bytes:
    """RGB pixels (height, width, 3) as a PNG."""
    height, width = image.shape[:2]
    encoded: bytes = fpng.from_bytes(image.tobytes(), width, height, 3)
    return encoded


def is_proven(data: bytes, image: NDArray[np.uint8]) -> bool:
    """Whether a PNG is seen to hold exactly these RGB pixels (height, width, 3), with no decoder's help."""
    height, width = image.shape[:2]
    try:
        header, *parts = _chunks(data)
        inflated = isal_zlib.decompress(b"".join(parts), bufsize=height * (3 * width + 1) + 1)
    except Exception:  # ISA-L has one of its own; whatever is wrong, nothing is proven
        return False
    # Section 11.2.1: 8 bits, truecolour, deflate, adaptive filters, not interlaced.
    if header != struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0) or len(inflated) != height * (3 * width + 1):
        return False
    rows = np.frombuffer(inflated, np.uint8).reshape(height, -1)
    filters, pixels = rows[:, 0], image.reshape(height, -1)
    filtered = pixels.copy()
    filtered[1:] -= pixels[:-1]
    plain = filters == _NONE
    filtered[plain] = pixels[plain]
    return bool(np.all(plain | (filters == _UP))) and np.array_equal(rows[:, 1:], filtered)


def read(data: bytes) -> NDArray[np.uint8] | None:
    """RGB pixels (height, width, 3) of a PNG such as `write` makes; None where that takes a decoder, or finds fault."""
    try:
        header, *parts = _chunks(data)
        width, height, *kind = struct.unpack(">2I5B", header)
        if kind != [8, 2, 0, 0, 0] or not 0 < width * height <= MAX_PIXELS:  # as above
            return None
        inflate, size = isal_zlib.decompressobj(), height * (3 * width + 1)
        inflated = inflate.decompress(b"".join(parts), max_length=size + 1)
    except Exception:  # as above
        return None
    if len(inflated) != size or not inflate.eof or inflate.unused_data:
        return None
    rows = np.frombuffer(inflated, np.uint8).reshape(height, -1)
    filters, pixels = rows[:, 0], rows[:, 1:].copy()
    if (filters[1:] == _UP).all():
        _sum_rows(pixels)
    elif filters[1:].any():
        return None
    return pixels.reshape(height, width, 3) if filters[0] in (_NONE, _UP) else None


def _sum_rows(rows: NDArray[np.uint8]) -> None:
    """Add all rows before it to each row, in place: within blocks, then block by block, for NumPy to be called less."""
    size = math.isqrt(len(rows))
    whole = len(rows) // size * size
    blocks = rows[:whole].reshape(-1, size, rows.shape[1])
    for index in range(1, size):
        blocks[:, index] += blocks[:, index - 1]
    for index in range(1, len(blocks)):
        blocks[index] += blocks[index - 1, -1]
    for index in range(whole, len(rows)):
        rows[index] += rows[index - 1]


def _chunks(data: bytes) -> Iterator[memoryview]:
    """What the header's chunk holds, then those of the image. Raises ValueError or struct.error for all else."""
    if not data.startswith(_SIGNATURE):
        raise ValueError("no PNG")
    view, start, kinds = memoryview(data), len(_SIGNATURE), []
    while start < len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 8 + length
        if isal_zlib.crc32(view[start + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise ValueError("a checksum is wrong")
        if kind in (b"IHDR", b"IDAT"):
            yield view[start + 8 : end]
        if kind != _OWN:
            kinds.append(kind)
        start = end + 4
    if kinds[:1] != [b"IHDR"] or kinds[-1:] != [b"IEND"] or {*kinds[1:-1]} != {b"IDAT"}:
        raise ValueError("chunks that have to be interpreted")


def versions() -> dict[str, str]:
    """What writes PNG."""
    return {"fpng": importlib.metadata.version("fpng")}
