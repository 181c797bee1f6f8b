"""The best class of each pixel from a segmentation model's scores, upsampled as by PyTorch's `interpolate`.

Scores are interpolated and then compared, some rows at a time: all classes of a whole image would take hundreds of
megabytes. Each step is one NumPy operation in single precision, so that no CPU fuses two and rounds differently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
# Rows at a time: 2048 pixels wide, they are half a megabyte, which fits a CPU's cache.
_ROWS = 64


class Taps(NamedTuple):
    """For each pixel of an axis, the two source pixels that it is made of, and the second one's share (float32)."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    share: Floats

    def some(self, pixels: slice) -> Taps:
        return Taps(self.first[pixels], self.second[pixels], self.share[pixels])


# From an axis's length and its new length to its taps.
Linear = Callable[[int, int], Taps]


def half_pixel(length: int, into: int) -> Taps:
    """Linear interpolation with align_corners=False.

    Source: `area_pixel_compute_source_index` and `guard_index_and_lambda` in aten/src/ATen/native/UpSample.h.
    """
    scale = np.float32(length) / np.float32(into)
    return _taps(scale * (np.arange(into, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5), length)


def corners(length: int, into: int) -> Taps:
    """Linear interpolation with align_corners=True; the same source."""
    scale = np.float32(length - 1) / np.float32(into - 1) if into > 1 else np.float32(0)
    return _taps(scale * np.arange(into, dtype=np.float32), length)


def _taps(places: Floats, length: int) -> Taps:
    places = places.clip(0, None)
    first = np.minimum(places.astype(np.intp), length - 1)
    share = (places - first.astype(np.float32)).clip(0, 1)
    return Taps(first, np.minimum(first + 1, length - 1), share)


LINEAR: Mapping[str, Linear] = MappingProxyType({"bilinear": half_pixel, "bilinear_corners": corners})


def nearest(classes: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """A label map (h, w) at another size by mode="nearest".

    Source: `nearest_neighbor_compute_source_index` in aten/src/ATen/native/UpSample.h.
    """
    rows, columns = (_nearest(*lengths) for lengths in zip(classes.shape, (height, width), strict=True))
    found: NDArray[np.uint8] = classes[rows[:, None], columns]
    return found


def _nearest(length: int, into: int) -> NDArray[np.intp]:
    places = np.arange(into, dtype=np.float32) * (np.float32(length) / np.float32(into))
    found: NDArray[np.intp] = np.minimum(places.astype(np.intp), length - 1)
    return found


def best(
    scores: Sequence[tuple[NDArray[Any], int]], height: int, width: int, linear: Linear | None = None
) -> NDArray[np.uint8]:
    """The label with the largest score, the first of equal ones, for each of height x width pixels.

    `scores` are pairs of scores (h, w) and label. They are interpolated by `linear`; if it is None, they already have
    this size.
    """
    found = np.empty((height, width), np.uint8)
    taps = [linear(*lengths) for lengths in zip(scores[0][0].shape, found.shape, strict=True)] if linear else []
    for start in range(0, height, _ROWS):
        rows = slice(start, start + _ROWS)
        most = np.full(found[rows].shape, -np.inf, np.float32)
        for own, label in scores:
            values = _interpolated(own, taps[0].some(rows), taps[1]) if taps else own[rows]
            np.copyto(found[rows], label, where=values > most)
            np.maximum(most, values, out=most)
    return found


def _interpolated(scores: NDArray[Any], down: Taps, across: Taps) -> Floats:
    """Some rows of scores at their new size; columns are interpolated first, while there are fewer rows."""
    low, high = down.first[0], down.second[-1] + 1
    own = scores[low:high]
    wide = own[:, across.first] * (1 - across.share) + own[:, across.second] * across.share
    share = down.share[:, None]
    found: Floats = wide[down.first - low] * (1 - share) + wide[down.second - low] * share
    return found
