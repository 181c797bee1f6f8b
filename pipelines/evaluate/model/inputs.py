"""Turns the pixels of shards into a model's input: placed in its frame, normalised, with its channels and layout.

Refuses images that do not fit the frame: resizing them here would be another variant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.model.runtimes import Input

# How far floating-point arithmetic may take a value from a whole number.
_ROUNDING = 1e-6


class Image(NamedTuple):
    """A sample in a model's input: its image begins at `left` and `top`; `info` is its `json` member."""

    key: str
    info: Mapping[str, Any]
    left: int
    top: int


class Inputs:
    """Fills a model's input, whose frame is `width` x `height` pixels.

    If `framed`, images may be smaller than the frame, and the rest is padding. A model that takes uint8 normalises
    pixels itself, whatever its preprocessing states; `note` is a line for the user that says so. Raises UsageError if
    the input is of another integer type and normalised pixels are not integers of it.
    """

    def __init__(
        self, width: int, height: int, preprocessing: Preprocessing, takes: Input, framed: bool = False
    ) -> None:
        self.width, self.height = width, height
        self._preprocessing = preprocessing
        self._framed = framed
        # What each of a channel's 256 values becomes, rounded once.
        pixels = np.repeat(np.arange(256.0)[:, None], 3, axis=1)
        values = (pixels * preprocessing.scale - np.array(preprocessing.mean)) / np.array(preprocessing.std)
        self.note = ""
        if takes.dtype == np.uint8 and takes.scale is None and not _are_whole(values, 0, 255):
            self.note = (
                "the model takes uint8 and gets the pixels as they are: mean, std and scale, which would make them "
                f"{values.min():.4g} to {values.max():.4g}, are not applied"
            )
            values = pixels
        table = _stored(values, takes)
        order = (0, 1, 2) if preprocessing.channels == "rgb" else (2, 1, 0)
        self._channels = [(source, np.ascontiguousarray(table[:, own])) for own, source in enumerate(order)]
        self._last = preprocessing.layout == "nhwc"
        self._dtype = table.dtype

    def batch(self, count: int) -> NDArray[Any]:
        """An uninitialised batch of (count, 3, height, width) or (count, height, width, 3)."""
        size = (self.height, self.width, 3) if self._last else (3, self.height, self.width)
        return np.empty((count, *size), self._dtype)

    def place(self, key: str, info: Mapping[str, Any], pixels: NDArray[np.uint8], into: NDArray[Any]) -> Image:
        """Write RGB pixels (height, width, 3) into one image of a batch. Raises UsageError if they do not fit."""
        rows, columns = pixels.shape[:2]
        left = top = 0
        if (columns, rows) != (self.width, self.height):
            left, top = self._corner(key, columns, rows)
            frame = np.full((self.height, self.width, 3), self._preprocessing.pad, np.uint8)
            frame[top : top + rows, left : left + columns] = pixels
            pixels = frame
        planes = cv2.split(pixels)
        for own, (source, table) in enumerate(self._channels):
            if self._last:
                into[..., own] = cv2.LUT(planes[source], table)
            else:
                cv2.LUT(planes[source], table, dst=into[own])
        return Image(key, info, left, top)

    def _corner(self, key: str, columns: int, rows: int) -> tuple[int, int]:
        """The left and top of an image that is smaller than the frame on one side and fills the other."""
        spare_x, spare_y = self.width - columns, self.height - rows
        have, wanted = f"{columns}x{rows}", f"{self.width}x{self.height}"
        if not self._framed or min(spare_x, spare_y) != 0:
            raise UsageError(
                f"the model takes {wanted} pixels and the shards have {have} ({key}): make shards with "
                f"{self._options()}"
            )
        if self._preprocessing.pad is None or self._preprocessing.placement is None:
            raise UsageError(
                f"the model takes {wanted} pixels and {key} has {have}: state how to pad it, such as `pad = 114` and "
                '`placement = "top_left"`'
            )
        return (0, 0) if self._preprocessing.placement == "top_left" else (spare_x // 2, spare_y // 2)

    def _options(self) -> str:
        if self.width != self.height:
            return f"--geometry stretch --size {self.width}x{self.height}"
        if self._framed:
            return (
                f"--geometry keep_ratio --size {self.width},{self.width}, or --geometry letterbox --size {self.width}"
            )
        return f"--size {self.width} (and the --geometry that the model was trained for: crop, squash or stretch)"


def _stored(values: NDArray[np.float64], takes: Input) -> NDArray[Any]:
    """Values in the input's type; float32 for float16 and int32 for int64, which OpenCV's tables do not support."""
    if np.issubdtype(takes.dtype, np.floating):
        halves = takes.dtype == np.float16
        return values.astype(takes.dtype).astype(np.float32) if halves else values.astype(takes.dtype)
    stored = np.dtype(np.int32) if takes.dtype.itemsize == 8 else takes.dtype
    low, high = max(np.iinfo(takes.dtype).min, np.iinfo(stored).min), np.iinfo(stored).max
    if takes.scale is not None:
        # Divided in single precision and rounded half away from 0, as TensorFlow Lite's reference does (AffineQuantize
        # in tflite/kernels/internal/reference/quantize.h): with a scale and mean of 127.5, every pixel is a half.
        ratios = (values.astype(np.float32) / np.float32(takes.scale)).astype(np.float64)
        steps: NDArray[np.float64] = np.copysign(np.floor(np.abs(ratios) + 0.5), ratios) + takes.zero_point
        return steps.clip(low, high).astype(stored)
    if not _are_whole(values, low, high):
        zero = 0 if high >= 255 else 128
        raise UsageError(
            f"the model takes {takes.dtype}, and mean, std and scale give {values.min():.4g} to {values.max():.4g}: "
            f"give mean = {[zero] * 3}, std = [1, 1, 1] and scale = 1 if it normalises pixels itself"
        )
    return np.rint(values).astype(stored)


def _are_whole(values: NDArray[np.float64], low: int, high: int) -> bool:
    near = np.abs(np.rint(values) - values).max() <= _ROUNDING
    return bool(near and np.rint(values).min() >= low and np.rint(values).max() <= high)


def fitting(takes: Input, preprocessing: Preprocessing, pixels: NDArray[np.uint8], framed: bool = False) -> Inputs:
    """The inputs of a model for images like `pixels`, whose size an open input takes.

    `framed` images may have many sizes in one frame, so that the size of an open input must be stated. Raises
    UsageError if it is not, or if the stated size or batch is not the model's.
    """
    frame = preprocessing.frame or (None, None)
    width, height = takes.width or frame[0], takes.height or frame[1]
    if preprocessing.frame is not None and (width, height) != frame:
        size = "x".join(map(str, dict.fromkeys(frame)))
        raise UsageError(f"size = {size} is not what the model takes, {takes.width}x{takes.height}: leave it out")
    if takes.batch is not None and takes.batch != preprocessing.batch:
        raise UsageError(f"the model takes {takes.batch} images at a time: give batch = {takes.batch}")
    if framed and (height is None or width is None):
        raise UsageError("the model leaves the size of its input open: give it, such as size = 416")
    return Inputs(width or pixels.shape[1], height or pixels.shape[0], preprocessing, takes, framed)
