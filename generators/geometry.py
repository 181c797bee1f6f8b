"""How a source image maps to the output frame: target size, rounding and crop, once for all libraries.

Owns every integer that a resize or a crop is given, so that no library rounds for itself. Touches pixels only to cut
the crop out. Sizes are pixels, given as width before height; coordinates start at the top left.

`output = source * scale - crop`, for each axis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Width and height of an ordinary ImageNet image, for estimates and for checking a size before any image is read.
TYPICAL = (500, 375)
# Pillow's limit against decompression bombs (twice Image.MAX_IMAGE_PIXELS).
MAX_PIXELS = 178_956_970
# What an image may be resized to before it is cropped. Some filters need 10 bytes for each value of it: more would make
# a worker's memory depend on one odd image (1x2000 pixels become 256x512,000).
MAX_RESIZED_PIXELS = 2**24


@dataclass(frozen=True)
class Frame:
    """Where one source lands: the size that it is resized to (None: not at all), the crop and the output size."""

    source: tuple[int, int]
    resize: tuple[int, int] | None
    crop_x: int
    crop_y: int
    width: int
    height: int

    @property
    def scale_x(self) -> float:
        return self.resize[0] / self.source[0] if self.resize else 1.0

    @property
    def scale_y(self) -> float:
        return self.resize[1] / self.source[1] if self.resize else 1.0

    def cut(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The output frame of a resized image, as a contiguous array of shape (height, width, 3)."""
        window = image[self.crop_y : self.crop_y + self.height, self.crop_x : self.crop_x + self.width]
        return np.ascontiguousarray(window)


def _before_crop(size: int) -> int:
    """Side to resize to before a crop of `size`: 256 for 224, truncated as the official SysNoise generator does."""
    return int(size * 8 / 7)


def _centre(width: int, height: int, size: int) -> tuple[int, int]:
    """Top-left corner of a centre crop, rounded as torchvision's `center_crop` and the official generator do."""
    return round((width - size) / 2.0), round((height - size) / 2.0)


def crop(width: int, height: int, size: int) -> Frame:
    """torchvision's Resize + CenterCrop: shorter side to size*8/7, the other to `int(long * target / short)`."""
    short = _before_crop(size)
    portrait = width <= height
    resize = (short, int(short * height / width)) if portrait else (int(short * width / height), short)
    return Frame((width, height), resize, *_centre(*resize, size), size, size)


def squash(width: int, height: int, size: int) -> Frame:
    """The official SysNoise generator's: both sides to size*8/7, aspect ignored, then the centre crop."""
    side = _before_crop(size)
    return Frame((width, height), (side, side), *_centre(side, side, size), size, size)


def stretch(width: int, height: int, size: int) -> Frame:
    """Both sides to `size`, aspect ignored, no crop."""
    return Frame((width, height), (size, size), 0, 0, size, size)


def identity(width: int, height: int, size: int) -> Frame:
    """The source's own size; `size` is not used."""
    return Frame((width, height), None, 0, 0, width, height)


GEOMETRIES: dict[str, Callable[[int, int, int], Frame]] = {
    "crop": crop,
    "squash": squash,
    "stretch": stretch,
    "identity": identity,
}


def frame(name: str, width: int, height: int, size: int) -> Frame:
    """The frame of geometry `name` for a source of width × height.

    Raises ValueError where it would be resized to more than `MAX_RESIZED_PIXELS` pixels.
    """
    found = GEOMETRIES[name](width, height, size)
    columns, rows = found.resize or (0, 0)
    if columns * rows > MAX_RESIZED_PIXELS:
        raise ValueError(
            f"{width}x{height} would be resized to {columns:,}x{rows:,}, over the limit of "
            f"{MAX_RESIZED_PIXELS:,} pixels"
        )
    return found
