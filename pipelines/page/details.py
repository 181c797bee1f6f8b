"""Details of a few samples under every variant, at their own pixels, small enough to be embedded in the page.

Lossless: the page subtracts any two. A detail is cut where the variants differ most. The more variants there are, the
smaller it is.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.page.apart import Results
from pipelines.page.colours import coloured

# The most bytes that all details together take in a page, and how many fewer for each cell of its matrix: about as many
# as the cell takes.
_ROOM, _CELL = 2_600_000, 75
# Sides that a detail may have, in pixels, the largest first.
_SIDES = (256, 224, 192, 160, 128, 112, 96, 80, 64, 48, 32, 16)
# A thumbnail's larger side in pixels, and the quality it is stored with: it only shows where a detail is.
_THUMBNAIL, _QUALITY = 160, 70
# Steps per unit of natural logarithm in which log-mel values are shown: finer than their guaranteed accuracy.
STEPS = 2000


@dataclass(frozen=True)
class Detail:
    """A part of one sample. `values` has each group's, None if its frame has another size: uint8 of shape
    (height, width, 3), or uint16 of shape (height, width, 1) for a spectrogram.

    `box` is the part's x, y, width and height in the frame, whose width and height are `frame`.
    """

    key: str
    thumbnail: bytes
    frame: tuple[int, int]
    box: tuple[int, int, int, int]
    values: Sequence[NDArray[Any] | None]
    heat: NDArray[np.float32]

    @property
    def thumbnail_uri(self) -> str:
        return f"data:image/webp;base64,{base64.b64encode(self.thumbnail).decode()}"

    def cut(self, side: int) -> Detail:
        """The part of it, at most `side` high and wide, in which the variants differ most."""
        left, top, width, height = _hottest(self.heat, side)
        rows, columns = slice(top, top + height), slice(left, left + width)
        box = (self.box[0] + left, self.box[1] + top, width, height)
        values = [None if value is None else value[rows, columns] for value in self.values]
        return Detail(self.key, self.thumbnail, self.frame, box, values, self.heat[rows, columns])

    @cached_property
    def data(self) -> str:
        """The first group's values and the others' differences from it, channel by channel: little-endian, deflated, in
        base64.
        """
        there = [value for value in self.values if value is not None]
        differences = [there[0], *(value - there[0] for value in there[1:])]
        planes = [np.ascontiguousarray(value.transpose(2, 0, 1)) for value in differences]
        plain = b"".join(plane.astype(plane.dtype.newbyteorder("<")).tobytes() for plane in planes)
        return base64.b64encode(zlib.compress(plain, 1)).decode()

    @property
    def for_script(self) -> dict[str, Any]:
        """What the page's script needs of it, as JSON."""
        first = next(value for value in self.values if value is not None)
        return {
            "box": self.box,
            "bytes": first.itemsize,
            "channels": first.shape[2],
            "there": [value is not None for value in self.values],
            "data": self.data,
        }


@dataclass
class Details:
    """The details of the samples with these keys, cut out one sample after another."""

    keys: Sequence[str]
    speech: bool
    _found: dict[str, Detail] = field(default_factory=dict)

    def look(self, key: str, results: Results) -> None:
        """Keep a detail of a sample."""
        self._found[key] = _detail(key, results, self.speech)

    def fitting(self) -> list[Detail]:
        """All details in the order of `keys`, cut so that they fit into the page; none if even the smallest do not."""
        if not self._found:
            return []
        room = _ROOM - _CELL * len(self._found[self.keys[0]].values) ** 2
        found = [self._found[key] for key in self.keys]
        small = [one.cut(_SIDES[-1]) for one in found]
        each = sum(len(one.data) for one in small) / sum(one.box[2] * one.box[3] for one in small)
        # Larger details take fewer bytes per pixel.
        for side in (side for side in _SIDES if each * side**2 * len(small) < 2 * room):
            cut = [one.cut(side) for one in found]
            if sum(len(one.data) for one in cut) <= room:
                return cut
        return []


def _detail(key: str, results: Results, speech: bool) -> Detail:
    values = [_steps(one) for one in _of_one_length(results)] if speech else results
    shape = values[0].shape
    same = [value if value.shape == shape else None for value in values]
    flat = (shape[0], -1)  # to OpenCV, an image with many channels is slow
    total = np.zeros_like(values[0], np.float32).reshape(flat)
    for value in same:
        if value is not None:
            cv2.accumulate(cv2.absdiff(value.reshape(flat), values[0].reshape(flat)), total)
    heat: NDArray[np.float32] = total.reshape(shape).mean(axis=2, dtype=np.float32)
    thumbnail = _thumbnail(values[0], speech)
    whole = Detail(key, thumbnail, (shape[1], shape[0]), (0, 0, shape[1], shape[0]), same, heat)
    return whole.cut(_SIDES[0])


def _of_one_length(mels: Results) -> Results:
    """Spectrograms without the frames that some of them lack."""
    frames = min(mel.shape[1] for mel in mels)
    return [mel[:, :frames] for mel in mels]


def _steps(mel: NDArray[np.float32]) -> NDArray[np.uint16]:
    """A spectrogram with its low bands at the bottom, as whole steps above the floor of what 16 bits hold."""
    found = np.clip(np.round(mel[::-1, :, None] * STEPS) + 2**15, 0, 2**16 - 1)
    return found.astype(np.uint16)


def _hottest(heat: NDArray[np.float32], side: int) -> tuple[int, int, int, int]:
    """The left, top, width and height of the part of at most this side with the largest sum."""
    height, width = (min(side, length) for length in heat.shape)
    sums = cv2.integral(heat)
    of_each = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(int(of_each.argmax()), of_each.shape)
    return int(left), int(top), width, height


def _thumbnail(value: NDArray[Any], speech: bool) -> bytes:
    image = coloured(value[:, :, 0], float(value.min())).convert("RGB") if speech else Image.fromarray(value)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY)
    return buffer.getvalue()
