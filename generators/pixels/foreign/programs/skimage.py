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
    """`skimage.transform.resize(order=1)` to floats from 0 to 1, rounded to 8 bits by `img_as_ubyte`.

    `anti_aliasing` smooths with a Gaussian first, along sides that shrink; it is the default since 0.15. Up to 0.18 it
    smooths 8-bit values as integers, which lose their fractions; 0.14 treats everything beyond the edges as black.
    """
    rows, columns, pixels = image
    picture = np.frombuffer(pixels, np.uint8).reshape(rows, columns, 3)
    resized = img_as_ubyte(transform.resize(picture, (height, width), order=1, anti_aliasing=anti_aliasing))
    return height, width, np.ascontiguousarray(resized)


def versions() -> dict[str, str]:
    """scikit-image; NumPy and SciPy, which computes, are listed with what was installed."""
    return {"scikit-image": skimage.__version__}
