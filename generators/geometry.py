"""How a source image maps to the output frame: target size, rounding, crop and padding, the same for all libraries.

Computes every integer that a resize or a crop gets, so that no library rounds for itself: if a library is given a scale
factor (`fx`, `fy`), a side can come out one pixel off, and boxes with it. Touches pixels only to crop or pad the frame.
Sizes are in pixels, width before height; coordinates start at the top left.

`output = source * scale - crop`, for each axis; a negative crop is padding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Pillow's limit against decompression bombs (twice Image.MAX_IMAGE_PIXELS).
MAX_PIXELS = 178_956_970
# The most pixels that an image may be resized to before it is cropped. Some filters need 10 bytes for each value: a
# higher limit would make a worker's memory depend on one odd image (1x2000 pixels become 256x512,000).
MAX_RESIZED_PIXELS = 2**24
# The padding value of YOLO deployments (Ultralytics' LetterBox, `padding_value`).
PADDING = 114

# One or two numbers: short and long side for `keep_ratio`, width and height for `stretch`; for those in `CROPPED`, the
# side of the crop and the side before it, which is left out if it is `before_crop`'s.
Size = tuple[int, ...]
# The geometries that crop the centre of a larger image.
CROPPED = frozenset({"crop", "squash"})


class BoxError(ValueError):
    """A box does not fit into an image; the message is one line."""


class Box(NamedTuple):
    """A rectangle of an image, in pixels, in the order of torchvision's `RandomResizedCrop.get_params`."""

    top: int
    left: int
    height: int
    width: int

    def within(self, width: int, height: int) -> tuple[slice, slice]:
        """The rows and columns of the box in an image of this size.

        Raises BoxError if the box is empty or reaches out of the image.
        """
        top, left, rows, columns = self
        if rows < 1 or columns < 1 or min(top, left) < 0 or top + rows > height or left + columns > width:
            raise BoxError(f"{self} does not fit into an image of {width}x{height}")
        return slice(top, top + rows), slice(left, left + columns)


@dataclass(frozen=True)
class Frame:
    """Where a source lands: the size it is resized to (None if it is not resized), the crop and the output size."""

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
        """The factor (1, 2, 4 or 8) by which a JPEG decoder may shrink the source without going below the target size.

        Every release of libjpeg has these scales (its `scale_denom`), and Pillow's `draft` chooses the same way.
        """
        width, height = self.resize or self.source
        least = min(self.source[0] // width, self.source[1] // height)
        return max((scale for scale in (2, 4, 8) if scale <= least), default=1)

    def cut(self, image: NDArray[np.uint8], padding: int = PADDING) -> NDArray[np.uint8]:
        """The output frame of a resized image or label map (height, width, ...): cropped or padded, contiguous."""
        if self.crop_x < 0 or self.crop_y < 0:
            padded = np.full((self.height, self.width, *image.shape[2:]), padding, np.uint8)
            rows, columns = image.shape[:2]
            padded[-self.crop_y : rows - self.crop_y, -self.crop_x : columns - self.crop_x] = image
            return padded
        window = image[self.crop_y : self.crop_y + self.height, self.crop_x : self.crop_x + self.width]
        return np.ascontiguousarray(window)

    def to_output(self, coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points or boxes from source to output pixels: arrays whose last axis is x, y or x1, y1, x2, y2."""
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
    """The side to resize to before a crop of `side`: 256 for 224, truncated as in the official SysNoise generator."""
    return int(side * 8 / 7)


def _sides(size: Size) -> tuple[int, int]:
    """The side of the crop, and the side before it. Raises ValueError if the crop does not fit."""
    side, *given = size
    (before,) = given or [before_crop(side)]
    if before < side:
        raise ValueError(f"a crop of {side} pixels does not fit into {before}")
    return side, before


def _centre(width: int, height: int, size: int) -> tuple[int, int]:
    """Top-left corner of a centre crop, rounded as in torchvision's `center_crop` and the official generator."""
    return round((width - size) / 2.0), round((height - size) / 2.0)


def crop(width: int, height: int, size: Size) -> Frame:
    """torchvision's Resize + CenterCrop: shorter side to the side before the crop, the other scaled and truncated."""
    side, short = _sides(size)
    portrait = width <= height
    resize = (short, int(short * height / width)) if portrait else (int(short * width / height), short)
    return Frame((width, height), resize, *_centre(*resize, side), side, side)


def squash(width: int, height: int, size: Size) -> Frame:
    """The official SysNoise generator: both sides to the side before the crop, ignoring aspect, then a centre crop."""
    side, before = _sides(size)
    return Frame((width, height), (before, before), *_centre(before, before, side), side, side)


def keep_ratio(width: int, height: int, size: Size) -> Frame:
    """For detection: scale by min(short/shorter side, long/longer side), each side rounded, as in United-Perception."""
    short, long = size
    scale = min(short / min(width, height), long / max(width, height))
    resize = max(1, round(width * scale)), max(1, round(height * scale))
    return Frame((width, height), resize, 0, 0, *resize)


def letterbox(width: int, height: int, size: Size) -> Frame:
    """Fit inside size x size, keeping the aspect, and pad around; rounding and placement as in Ultralytics' LetterBox.

    ultralytics/data/augment.py: `round(side * r)`, then `round(padding / 2 - 0.1)` at the top and the left.
    """
    (side,) = size
    scale = min(side / width, side / height)
    resize = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (round((side - extent) / 2 - 0.1) for extent in resize)
    return Frame((width, height), resize, -left, -top, side, side)


def stretch(width: int, height: int, size: Size) -> Frame:
    """Both sides to `size` (or to width and height), ignoring the aspect; no crop."""
    resize = (size[0], size[-1])
    return Frame((width, height), resize, 0, 0, *resize)


def identity(width: int, height: int, size: Size) -> Frame:
    """The source's own size; `size` is empty."""
    return Frame((width, height), None, 0, 0, width, height)


@dataclass(frozen=True)
class Geometry:
    """A geometry's function, the allowed counts of numbers in its size, and how to write it."""

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

    Raises ValueError if it would be resized to more than `MAX_RESIZED_PIXELS` pixels.
    """
    found = GEOMETRIES[name].frame(width, height, size)
    columns, rows = found.resize or (0, 0)
    if columns * rows > MAX_RESIZED_PIXELS:
        raise ValueError(
            f"{width}x{height} would be resized to {columns:,}x{rows:,}, over the limit of "
            f"{MAX_RESIZED_PIXELS:,} pixels"
        )
    return found
