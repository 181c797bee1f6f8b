"""scikit-image, any release from 0.14: `skimage.transform.resize`."""

from __future__ import annotations

from typing import Any, Tuple

import numpy as np
import skimage
from skimage import transform
from skimage.util import img_as_ubyte

Given = Tuple[int, int, memoryview]
Made = Tuple[int, int, Any]


def resize(image: Given, width: int, height: int, anti_aliasing: bool) -> Made:
    """`skimage.transform.resize(order=1)` to floats from 0 to 1, which `img_as_ubyte` rounds to the nearest of 8 bits.

    `anti_aliasing` smooths by a Gaussian first, along sides that become shorter: its default since 0.15, not before.
    Up to 0.18 the smoothed values lose their fractions, since 8 bits are smoothed as 8 bits; 0.14 takes what is beyond
    the edges as black.
    """
    rows, columns, pixels = image
    picture = np.frombuffer(pixels, np.uint8).reshape(rows, columns, 3)
    resized = img_as_ubyte(transform.resize(picture, (height, width), order=1, anti_aliasing=anti_aliasing))
    return height, width, np.ascontiguousarray(resized)


def versions() -> dict[str, str]:
    """scikit-image; NumPy's and SciPy's, which computes, are told with what was installed."""
    return {"scikit-image": skimage.__version__}
