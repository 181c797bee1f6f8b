"""PNG by fpng, and a proof that a PNG holds certain pixels that costs a third of decoding it.

The proof goes by the standard and by ISA-L's inflate (`manifests.png`), neither of them fpng's: the chunks and their
checksums, then every byte of the inflated rows against what their filter makes of the pixels. It knows the two filters
that fpng writes; of anything else it says no, and a decoder has the last word.
"""

from __future__ import annotations

import importlib.metadata

import fpng
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from manifests.png import NONE, UP, chunks, header


def write(image: NDArray[np.uint8]) -> bytes:
    """RGB pixels (height, width, 3) as a PNG."""
    height, width = image.shape[:2]
    encoded: bytes = fpng.from_bytes(image.tobytes(), width, height, 3)
    return encoded


def is_proven(data: bytes, image: NDArray[np.uint8]) -> bool:
    """Whether a PNG is seen to hold exactly these RGB pixels (height, width, 3), with no decoder's help."""
    height, width = image.shape[:2]
    try:
        described, *parts = chunks(data)
        inflated = isal_zlib.decompress(b"".join(parts), bufsize=height * (3 * width + 1) + 1)
    except Exception:  # ISA-L has one of its own; whatever is wrong, nothing is proven
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
    """What writes PNG."""
    return {"fpng": importlib.metadata.version("fpng")}
