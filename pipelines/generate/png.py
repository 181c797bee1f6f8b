"""PNG by fpng or without compression, and a proof, at a third of the cost of decoding, that a PNG has certain pixels.

The proof follows the standard and uses ISA-L's inflate (`manifests.png`), independently of fpng: it checks the chunks
and their checksums, then compares every byte of the inflated rows with the filtered pixels. It knows the two filters
that fpng writes. Anything else is not proven, and needs a decoder to decide.
"""

from __future__ import annotations

import importlib.metadata
import struct
from collections.abc import Iterator

import fpng
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from manifests.png import MOST_STORED, NONE, SIGNATURE, STORED, UP, ZLIB, chunks, header


def write(image: NDArray[np.uint8]) -> bytes:
    """RGB pixels (height, width, 3) as a PNG."""
    height, width = image.shape[:2]
    encoded: bytes = fpng.from_bytes(image.tobytes(), width, height, 3)
    return encoded


def write_stored(image: NDArray[np.uint8]) -> bytes:
    """RGB pixels (height, width, 3) as an uncompressed PNG: larger, but read in a quarter of the time."""
    height, width = image.shape[:2]
    rows = np.empty((height, 3 * width + 1), np.uint8)
    rows[:, 0], rows[:, 1:] = NONE, image.reshape(height, -1)
    raw = rows.tobytes()
    stream = b"".join((ZLIB, *_stored(raw), struct.pack(">I", isal_zlib.adler32(raw))))
    parts = (b"IHDR", header(height, width)), (b"IDAT", stream), (b"IEND", b"")
    return b"".join((SIGNATURE, *(part for kind, data in parts for part in _chunk(kind, data))))


def _stored(raw: bytes) -> Iterator[bytes]:
    """Deflate blocks that store bytes uncompressed."""
    for start in range(0, len(raw), MOST_STORED):
        block = raw[start : start + MOST_STORED]
        yield STORED.pack(start + MOST_STORED >= len(raw), len(block), len(block) ^ 0xFFFF)
        yield block


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, ...]:
    checksum = isal_zlib.crc32(data, isal_zlib.crc32(kind))
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)


def is_proven(data: bytes, image: NDArray[np.uint8]) -> bool:
    """Whether a PNG is proven, without a decoder, to have exactly these RGB pixels (height, width, 3)."""
    height, width = image.shape[:2]
    try:
        described, *parts = chunks(data)
        inflated = isal_zlib.decompress(b"".join(parts), bufsize=height * (3 * width + 1) + 1)
    except Exception:  # ISA-L has its own exception; whatever is wrong, nothing is proven
        return False
    if described != header(height, width) or len(inflated) != height * (3 * width + 1):
        return False
    rows = np.frombuffer(inflated, np.uint8).reshape(height, -1)
    filters, pixels = rows[:, 0], image.reshape(height, -1)
    filtered = pixels.copy()
    filtered[1:] -= pixels[:-1]
    plain = filters == NONE
    filtered[plain] = pixels[plain]
    return bool(np.all(plain | (filters == UP))) and np.array_equal(rows[:, 1:], filtered)


def versions() -> dict[str, str]:
    """The version of the library that writes PNG."""
    return {"fpng": importlib.metadata.version("fpng")}
