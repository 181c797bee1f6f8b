"""How a source image maps to the output frame: target size, rounding, crop or padding, once for all libraries.

Owns every integer that a resize or a crop is given, so that no library rounds for itself: a scale factor handed to a
library (`fx`, `fy`) can give a side that is one pixel off, and boxes that are off with it. Touches pixels only to cut
or pad the frame. Sizes are pixels, given as width before height; coordinates start at the top left.

`output = source * scale - crop`, for each axis; a negative crop is padding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import index
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Pillow's limit against decompression bombs (twice Image.MAX_IMAGE_PIXELS).
MAX_PIXELS = 178_956_970
# What an image may be resized to before it is cropped. Some filters need 10 bytes for each value of it: more would make
# a worker's memory depend on one odd image (1x2000 pixels become 256x512,000).
MAX_RESIZED_PIXELS = 2**24
# What YOLO deployments pad with (Ultralytics' LetterBox, `padding_value`).
PADDING = 114

# One number, or two: short and long side for `keep_ratio`, width and height for `stretch`, and for those in `CROPPED`
# the side of the crop and the one before it, which is left out where it is `before_crop`'s.
Size = tuple[int, ...]
# The geometries that cut the centre out of a larger image.
CROPPED = frozenset({"crop", "squash"})


class Box(NamedTuple):
    """A rectangle of an image, in pixels, in the order of torchvision's `RandomResizedCrop.get_params`."""

    top: int
    left: int
    height: int
    width: int

    def within(self, width: int, height: int) -> tuple[slice, slice]:
        """The rows and columns of an image of this size that are in the box.

        Raises ValueError where it is empty or reaches out of the image, and TypeError where it is not of whole numbers.
        """
        top, left, rows, columns = map(index, self)
        if rows < 1 or columns < 1 or min(top, left) < 0 or top + rows > height or left + columns > width:
            raise ValueError(f"{self} does not fit into an image of {width}x{height}")
        return slice(top, top + rows), slice(left, left + columns)


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

    @property
    def shrink(self) -> int:
        """By how much a JPEG decoder may shrink the source, 1, 2, 4 or 8, with neither side less than it is resized to.

        These are the scales that every release of libjpeg has (its `scale_denom`), and Pillow's `draft` chooses so too.
        """
        width, height = self.resize or self.source
        least = min(self.source[0] // width, self.source[1] // height)
        return max((scale for scale in (2, 4, 8) if scale <= least), default=1)

    def cut(self, image: NDArray[np.uint8], padding: int = PADDING) -> NDArray[np.uint8]:
        """The output frame of a resized image or label map (height, width, ...), cropped or padded, contiguous."""
        if self.crop_x < 0 or self.crop_y < 0:
            padded = np.full((self.height, self.width, *image.shape[2:]), padding, np.uint8)
            rows, columns = image.shape[:2]
            padded[-self.crop_y : rows - self.crop_y, -self.crop_x : columns - self.crop_x] = image
            return padded
        window = image[self.crop_y : self.crop_y + self.height, self.crop_x : self.crop_x + self.width]
        return np.ascontiguousarray(window)

    def to_output(self, coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points or boxes from source to output pixels: arrays whose last axis is x, y or x1, y1, x2, y2."""
        return self._pairs(coordinates, lambda xy: xy * self._scale - self._crop)

    def to_source(self, coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
        """The inverse of `to_output`."""
        return self._pairs(coordinates, lambda xy: (xy + self._crop) / self._scale)

    @property
    def _scale(self) -> NDArray[np.float64]:
        return np.array([self.scale_x, self.scale_y])

    @property
    def _crop(self) -> NDArray[np.float64]:
        return np.array([self.crop_x, self.crop_y], np.float64)

    @staticmethod
    def _pairs(
        coordinates: NDArray[np.float64], move: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        shape = np.shape(coordinates)
        return move(np.asarray(coordinates, np.float64).reshape(-1, 2)).reshape(shape)


def before_crop(side: int) -> int:
    """What is resized to before a crop of `side`: 256 for 224, truncated as the official SysNoise generator does."""
    return int(side * 8 / 7)


def _sides(size: Size) -> tuple[int, int]:
    """The side of the crop, and the one before it. Raises ValueError where it does not fit."""
    side, *given = size
    (before,) = given or [before_crop(side)]
    if before < side:
        raise ValueError(f"a crop of {side} pixels does not fit into {before}")
    return side, before


def _centre(width: int, height: int, size: int) -> tuple[int, int]:
    """Top-left corner of a centre crop, rounded as torchvision's `center_crop` and the official generator do."""
    return round((width - size) / 2.0), round((height - size) / 2.0)


def crop(width: int, height: int, size: Size) -> Frame:
    """torchvision's Resize + CenterCrop: shorter side to that before the crop, the other in proportion, truncated."""
    side, short = _sides(size)
    portrait = width <= height
    resize = (short, int(short * height / width)) if portrait else (int(short * width / height), short)
    return Frame((width, height), resize, *_centre(*resize, side), side, side)


def squash(width: int, height: int, size: Size) -> Frame:
    """The official SysNoise generator's: both sides to that before the crop, aspect ignored, then the centre."""
    side, before = _sides(size)
    return Frame((width, height), (before, before), *_centre(before, before, side), side, side)


def keep_ratio(width: int, height: int, size: Size) -> Frame:
    """Detection's: scale min(short/shorter side, long/longer side), each side rounded; as United-Perception does."""
    short, long = size
    scale = min(short / min(width, height), long / max(width, height))
    resize = max(1, round(width * scale)), max(1, round(height * scale))
    return Frame((width, height), resize, 0, 0, *resize)


def letterbox(width: int, height: int, size: Size) -> Frame:
    """Aspect kept inside size x size, padded around the centre; rounding and placement as Ultralytics' LetterBox.

    ultralytics/data/augment.py: `round(side * r)`, then `round(padding / 2 - 0.1)` at the top and the left.
    """
    (side,) = size
    scale = min(side / width, side / height)
    resize = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (round((side - extent) / 2 - 0.1) for extent in resize)
    return Frame((width, height), resize, -left, -top, side, side)


def stretch(width: int, height: int, size: Size) -> Frame:
    """Both sides to `size` (or to width and height), aspect ignored, no crop."""
    resize = (size[0], size[-1])
    return Frame((width, height), resize, 0, 0, *resize)


def identity(width: int, height: int, size: Size) -> Frame:
    """The source's own size; `size` is empty."""
    return Frame((width, height), None, 0, 0, width, height)


@dataclass(frozen=True)
class Geometry:
    """A geometry's function, and the numbers of values that its size may have."""

    frame: Callable[[int, int, Size], Frame]
    values: tuple[int, ...]
    usage: str


GEOMETRIES: Mapping[str, Geometry] = MappingProxyType(
    {
        "crop": Geometry(crop, (1, 2), "N"),
        "squash": Geometry(squash, (1, 2), "N"),
        "keep_ratio": Geometry(keep_ratio, (2,), "SHORT,LONG"),
        "letterbox": Geometry(letterbox, (1,), "N"),
        "stretch": Geometry(stretch, (1, 2), "N or WxH"),
        "identity": Geometry(identity, (0,), "nothing"),
    }
)


def frame(name: str, width: int, height: int, size: Size) -> Frame:
    """The frame of geometry `name` for a source of width x height.

    Raises ValueError where it would be resized to more than `MAX_RESIZED_PIXELS` pixels.
    """
    found = GEOMETRIES[name].frame(width, height, size)
    columns, rows = found.resize or (0, 0)
    if columns * rows > MAX_RESIZED_PIXELS:
        raise ValueError(
            f"{width}x{height} would be resized to {columns:,}x{rows:,}, over the limit of "
            f"{MAX_RESIZED_PIXELS:,} pixels"
        )
    return found
