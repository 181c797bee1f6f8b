"""Instance masks as pycocotools' run lengths in column order: checked, and moved from a shard to its source.

pycocotools decodes run lengths in C without checking them, and accesses memory out of bounds if they do not add up:
nothing reaches it unchecked. Refuses masks of another size than their image, with runs that do not fill it, or with
invalid polygons; a box is not a mask.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle

# `{"size": [height, width], "counts": bytes}`, compressed.
Rle = dict[str, Any]
# pycocotools' rleFrString reads up to 30 bits of a run (maskApi.c), including the sign.
MOST_PIXELS = 2**29
# Numbers of up to six characters: P to o for all but the last, which is 0 to O.
_COMPRESSED = re.compile(r"(?:[P-o]{0,5}[0-O])+")
_AT_ONCE = 1000  # masks decoded together
# x and y of three points.
_LEAST_POLYGON = 6

_LACKING = "lack a mask, which is a `segmentation` of RLE `counts` and `size`, or of polygons"
_SIZE = "have an RLE whose `size` is not the [height, width] of the image"
_COUNTS = "have an RLE whose `counts` do not add up to the pixels of the image"
_POINTS = "have a polygon that is not a flat list of the x and y of three or more points"
_FINITE = "have a polygon with a NaN or infinite point"
_FAR = "have a polygon that reaches further beyond the image than the image is large"


class BadMasksError(ValueError):
    """Invalid masks: the `problem` that they have, such as `lack a mask`, and their places among all masks."""

    def __init__(self, problem: str, places: Sequence[int]) -> None:
        super().__init__(problem)
        self.problem = problem
        self.places = places


class Place(NamedTuple):
    """How a shard's image lies in its source: `output = source * scale - crop` in x and y; sizes are width, height."""

    size: tuple[int, int]
    source: tuple[int, int]
    scale: tuple[float, float]
    crop: tuple[int, int]


def as_objects(values: Sequence[Any]) -> NDArray[Any]:
    """An array of Python objects, which NumPy does not unpack."""
    found = np.empty(len(values), object)
    found[:] = values
    return found


def check(segmentations: Sequence[Any], sizes: Sequence[Sequence[int]]) -> None:
    """Raises BadMasksError unless each `segmentation` is a valid mask for an image of its size (width, height)."""
    _refuse(_LACKING, (not _is_mask(one) for one in segmentations))
    polygons = [place for place, one in enumerate(segmentations) if isinstance(one, list)]
    _refuse(_POINTS, (not all(map(_is_polygon, segmentations[place])) for place in polygons), polygons)
    _refuse(_FINITE, (not all(map(_is_finite, chain(*segmentations[place]))) for place in polygons), polygons)
    _refuse(_FAR, (_is_far(segmentations[place], sizes[place]) for place in polygons), polygons)
    runs = [place for place, one in enumerate(segmentations) if isinstance(one, dict)]
    _refuse(_SIZE, (segmentations[place]["size"] != [*sizes[place][::-1]] for place in runs), runs)
    pixels = [math.prod(sizes[place]) for place in runs]
    _refuse(_COUNTS, _unfilled([segmentations[place]["counts"] for place in runs], pixels), runs)


def _refuse(problem: str, wrong: Iterable[bool], places: Sequence[int] | None = None) -> None:
    """Raises BadMasksError if any is wrong; `places` are the masks' places if `wrong` does not cover all masks."""
    found = [place for place, is_wrong in enumerate(wrong) if is_wrong]
    if found:
        raise BadMasksError(problem, found if places is None else [places[place] for place in found])


def _is_mask(segmentation: Any) -> bool:
    if isinstance(segmentation, list):
        return bool(segmentation)
    if not isinstance(segmentation, dict) or not isinstance(segmentation.get("size"), list):
        return False
    counts = segmentation.get("counts")
    return isinstance(counts, str) or (isinstance(counts, list) and set(map(type, counts)) <= {int})


def _is_polygon(polygon: Any) -> bool:
    return (
        isinstance(polygon, list)
        and len(polygon) >= _LEAST_POLYGON
        and len(polygon) % 2 == 0
        and set(map(type, polygon)) <= {int, float}
    )


def _is_finite(number: float) -> bool:
    return abs(number) < math.inf


def _is_far(polygons: Sequence[Sequence[float]], size: Sequence[int]) -> bool:
    for axis, side in enumerate(size):
        numbers = [number for polygon in polygons for number in polygon[axis::2]]
        if min(numbers) < -side or max(numbers) > 2 * side:
            return True
    return False


def _unfilled(counts: Sequence[str | Sequence[int]], pixels: Sequence[int]) -> Iterator[bool]:
    """Whether the runs of each mask are invalid, or do not add up to its pixels."""
    for first in range(0, len(counts), _AT_ONCE):
        some = counts[first : first + _AT_ONCE]
        decoded = iter(_decoded([one for one in some if isinstance(one, str) and _COMPRESSED.fullmatch(one)]))
        for one, wanted in zip(some, pixels[first : first + _AT_ONCE], strict=True):
            if not isinstance(one, str):
                yield min(one, default=0) < 0 or sum(one) != wanted
            elif not _COMPRESSED.fullmatch(one):
                yield True
            else:
                lengths = next(decoded)
                yield bool(lengths.min() < 0 or lengths.sum() != wanted)


def _decoded(strings: Sequence[str]) -> list[NDArray[np.int64]]:
    """The run lengths in compressed counts, as pycocotools' rleFrString reads them (maskApi.c).

    A character has six bits, one of which says that more follow: a signed number comes in groups of five bits, lowest
    first. From a mask's fourth number on, it is the difference from the last but one.
    """
    if not strings:
        return []
    characters = np.frombuffer("".join(strings).encode("ascii"), np.uint8) - 48
    last = characters < 32
    ends = np.flatnonzero(last)
    digits = np.diff(ends, prepend=-1)
    starts = ends + 1 - digits
    shifts = 5 * (np.arange(len(characters)) - np.repeat(starts, digits))
    values = np.add.reduceat((characters & 31).astype(np.int64) << shifts, starts)
    values -= np.where(characters[ends] & 16, 1 << (5 * digits), 0)

    lengths = np.array([len(text) for text in strings])
    numbers = np.add.reduceat(last.astype(np.int64), np.cumsum(lengths) - lengths)  # in each mask
    bounds = np.cumsum(numbers)
    place = np.arange(len(values))
    within = place - np.repeat(bounds - numbers, numbers)
    sums = np.zeros(len(values) + 2, np.int64)  # running sums of every other value, shifted by two places
    sums[2::2], sums[3::2] = np.cumsum(values[::2]), np.cumsum(values[1::2])
    chained = np.where(within > 2, within - 2 + within % 2, 0)  # how far back the differences begin
    return np.split(sums[place + 2] - sums[place - chained], bounds[:-1])


def as_rle(segmentations: Sequence[Any], sizes: Sequence[Sequence[int]]) -> list[Rle]:
    """Checked masks as compressed run lengths."""
    return [_rle(one, width, height) for one, (width, height) in zip(segmentations, sizes, strict=True)]


def _rle(segmentation: Any, width: int, height: int) -> Rle:
    if isinstance(segmentation, list):
        merged: Rle = rle.merge(rle.frPyObjects(segmentation, height, width))
        return merged
    counts = segmentation["counts"]
    if isinstance(counts, list):
        found: Rle = rle.frPyObjects(segmentation, height, width)
        return found
    return {"size": [height, width], "counts": counts.encode("ascii")}


def polygons_to_source(polygons: Sequence[Sequence[float]], place: Place) -> list[list[float]]:
    """Polygons from a shard's pixels to its source's: (output + crop) / scale."""
    points = [np.reshape(polygon, (-1, 2)) for polygon in polygons]
    return [((xy + place.crop) / place.scale).ravel().tolist() for xy in points]


def runs_to_source(mask: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """A checked mask's run lengths from a shard's image to its source.

    A pixel of the source takes the value of the shard's pixel that contains its centre, and is outside the mask if
    there is none.
    """
    width, height = place.source
    counts = mask["counts"]
    lengths = _decoded([counts])[0] if isinstance(counts, str) else np.array(counts, np.int64)
    moved = _move(lengths, place.size[1], _nearest(place, 0), _nearest(place, 1))
    return {"size": [height, width], "counts": moved.tolist()}


def _nearest(place: Place, axis: int) -> NDArray[np.int64]:
    """The shard's column (axis 0) or row that contains the centre of each of the source's; it may be outside."""
    centres = np.arange(place.source[axis]) + 0.5
    nearest: NDArray[np.int64] = np.floor(centres * place.scale[axis] - place.crop[axis]).astype(np.int64)
    return nearest


def _move(
    lengths: NDArray[np.int64], height: int, columns: NDArray[np.int64], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The run lengths of a mask of this `height` in a frame whose `columns` and `rows` are taken from the mask's."""
    ends = np.cumsum(lengths)
    ends, starts = ends[1::2], ends[: len(ends) // 2 * 2 : 2]
    starts, ends = starts[ends > starts], ends[ends > starts]
    # A run may continue in the next column: cut it into pieces of one column each.
    cuts = (ends - 1) // height - starts // height + 1
    piece = np.arange(cuts.sum()) - np.repeat(np.cumsum(cuts) - cuts, cuts)
    column = np.repeat(starts // height, cuts) + piece
    top = np.maximum(np.repeat(starts, cuts), column * height) - column * height
    bottom = np.minimum(np.repeat(ends, cuts), (column + 1) * height) - column * height
    # Repeat each piece in all columns that are taken from this one.
    left, right = np.searchsorted(columns, column), np.searchsorted(columns, column + 1)
    times = right - left
    target = np.repeat(left, times) + np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    starts = target * len(rows) + np.repeat(np.searchsorted(rows, top), times)
    ends = target * len(rows) + np.repeat(np.searchsorted(rows, bottom), times)
    order = np.argsort(starts[ends > starts], kind="stable")
    starts, ends = starts[ends > starts][order], ends[ends > starts][order]
    edges: NDArray[np.int64] = np.stack([starts, ends], axis=1).ravel()
    # Join touching runs: rleIou in maskApi.c may take an empty run between two for the end of the mask.
    edges = edges[(np.diff(edges, prepend=-1) > 0) & (np.diff(edges, append=np.iinfo(np.int64).max) > 0)]
    moved: NDArray[np.int64] = np.diff(edges, prepend=0, append=len(columns) * len(rows))
    return moved
