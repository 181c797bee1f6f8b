"""The colour scale of matrices and maps: viridis, which keeps its order in grey and for readers
with colour blindness.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# matplotlib's viridis at nine places from 0 to 1.
_PLACES = ("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725")
_RGB = np.array([[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in _PLACES])


def colours(count: int) -> NDArray[np.uint8]:
    """`count` colours from the low end of the scale to the high end: uint8 of shape (count, 3)."""
    at = np.linspace(0, 1, count)
    places = np.linspace(0, 1, len(_RGB))
    return np.stack([np.interp(at, places, channel) for channel in _RGB.T], axis=1).round().astype(np.uint8)


def ink_on(colour: NDArray[np.uint8]) -> str:
    """Black or white, whichever has more contrast on a colour: at least 4.58 (WCAG 2's relative luminance)."""
    share = colour / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return "#000" if linear @ (0.2126, 0.7152, 0.0722) > 0.179 else "#fff"


def coloured(values: NDArray[np.generic], low: float = 0.0) -> Image.Image:
    """Values of shape (height, width) as an image with a palette, stretched from `low` to the largest."""
    high = float(values.max())
    steps = np.round((values.astype(np.float32) - low) * (255 / ((high - low) or 1))).astype(np.uint8)
    image = Image.fromarray(steps)
    image.putpalette(colours(256).tobytes())
    return image
