"""Doubts about boxes that find no more than guesses: numbers other than x, y, width, height, or wrong category ids.

Known readings are tried on some of the images. If none fits, boxes are matched regardless of their category.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluate.chance.bounds import is_low
from pipelines.evaluate.chance.given import Given
from pipelines.evaluate.detection.matching import Detections, Objects, match
from pipelines.evaluate.detection.precision import Precision

Boxes = NDArray[np.float64]

# The mAP of chance, over the categories that a file names: even a badly trained detector has more.
_NEAR = 0.01
# Another reading is tried only if mAP is below LOW; it must have twice the mAP and _FAR more, and find twice the
# objects and _MORE more.
LOW, _FAR, _MORE = 0.1, 0.1, 8
# A file that names this share of the objects' categories is taken to be of all of them.
_AS_MANY = 0.8
# The number of images on which readings are tried.
_TRIED = 500


class Frame(NamedTuple):
    """How the shards' pixels lie in the source, (pixel + crop) / scale: float64 of shape (images, 2) each. `shard` says
    that boxes were read in the shards' pixels.
    """

    crop: Boxes
    scale: Boxes
    shard: bool


@dataclass(frozen=True)
class Scored:
    """What was scored: objects and detections (boxes or masks), the ids of the categories, and the number of images.

    `frame` is None if boxes can only be in source pixels.
    """

    objects: Objects
    detections: Detections
    categories: Sequence[int]
    images: int
    frame: Frame | None = None

    def some(self) -> Scored:
        """A copy with at most `_TRIED` images, spread evenly."""
        chosen = np.zeros(self.images, bool)
        chosen[np.linspace(0, self.images - 1, min(_TRIED, self.images)).astype(np.int64)] = True
        objects = self.objects.take(np.flatnonzero(chosen[self.objects.image]))
        detections = self.detections.take(np.flatnonzero(chosen[self.detections.image]))
        return Scored(objects, detections, self.categories, self.images, self.frame)


class _Reading(NamedTuple):
    """Detections as they may have been meant: what that reading is, and what to do, in words."""

    detections: Detections
    what: str
    do: str


class _Found(NamedTuple):
    """mAP, and how many of how many objects are found."""

    value: float
    found: int
    objects: int


def doubt(scored: Scored, value: float, given: Given) -> str:
    """Why the mAP `value` (a share) is doubtful."""
    if value >= LOW or not len(scored.detections.score):
        return ""
    scored = scored.some()
    as_is = _evaluated(scored, scored.detections)
    if found := _explained(scored, as_is, given):
        return f"{_fact(as_is)}; {found}"
    if as_is.value >= _NEAR or not is_low(as_is.found, as_is.objects, 0.0):
        return ""
    return f"{_fact(as_is)}. {_causes(scored, as_is, given)}"


def _evaluated(scored: Scored, detections: Detections) -> _Found:
    """The figures of a reading; if it lacks many categories, only objects of those that it names count."""
    objects = scored.objects
    named, present = np.unique(detections.category), np.unique(objects.category)
    if len(named) < _AS_MANY * len(present):
        objects = objects.take(np.flatnonzero(np.isin(objects.category, named)))
    matches = match(objects, detections, len(scored.categories))
    value = float(Precision(matches.categories, scored.images).mean(np.ones((1, scored.images)))[0])
    return _Found(0.0 if np.isnan(value) else value, int(matches.found.sum()), len(matches.found))


def _fact(found: _Found) -> str:
    return (
        f"The reference is at chance level: mAP is {found.value:.1%}, and {found.found:,} of {found.objects:,} objects "
        "are found"
    )


def _explained(scored: Scored, as_is: _Found, given: Given) -> str:
    best, found = 2 * as_is.value + _FAR, ""
    # With categories in any order, some match by accident.
    half = int(_found_regardless(scored).sum()) / 2
    readings = [(0.0, reading) for reading in _regions(scored, given)]
    readings += [(half, reading) for reading in _categories(scored, given)]
    for least, reading in readings:
        other = _evaluated(scored, reading.detections)
        if other.value > best and other.found >= max(least, 2 * as_is.found + _MORE):
            best, found = other.value, f"but mAP is {other.value:.1%} if {reading.what}: {reading.do}"
    return found


def _regions(scored: Scored, given: Given) -> Iterator[_Reading]:
    """Readings of boxes as other numbers."""
    if scored.detections.region.ndim == 1:  # masks have only one reading
        return
    boxes, frame = scored.detections.region, scored.frame
    crop, scale = (frame.crop, frame.scale) if frame else (np.zeros((scored.images, 2)), np.ones((scored.images, 2)))
    crop, scale = crop[scored.detections.image], scale[scored.detections.image]
    # As in the file: other numbers only have a meaning in its own frame.
    written = _moved(boxes, scale, -crop / scale) if frame and frame.shard else boxes
    do = "give x, y, width and height, with x and y of the top left corner"
    if given.model:
        do = given.with_flags("the model's boxes need another decoding", ["head"])
    for what, read in _numbers(written).items():
        moved = _moved(read, 1 / scale, crop) if frame and frame.shard else read
        yield _Reading(scored.detections._replace(region=moved), f"boxes are read as {what}", do)
    if frame and frame.shard:
        without = "leave out --boxes shard"
        yield _Reading(scored.detections._replace(region=written), "boxes are read in source pixels", without)
    elif frame:
        moved = _moved(boxes, 1 / scale, crop)
        yield _Reading(scored.detections._replace(region=moved), "boxes are read in shard pixels", "give --boxes shard")


def _moved(boxes: Boxes, scale: Boxes, offset: Boxes) -> Boxes:
    """Boxes moved by an offset, then scaled."""
    return np.concatenate([(boxes[:, :2] + offset) * scale, boxes[:, 2:] * scale], axis=1)


def _numbers(boxes: Boxes) -> Mapping[str, Boxes]:
    """The possible meanings of four numbers, and the boxes that result."""
    first, second = boxes[:, :2], boxes[:, 2:]
    turned, sizes = first[:, ::-1], second[:, ::-1]
    found = {
        "their centres, widths and heights": (first - second / 2, second),
        "their left, top, right and bottom": (first, second - first),
        "y, x, height and width": (turned, sizes),
        "their top, left, bottom and right": (turned, sizes - turned),
        "their centres' y and x, heights and widths": (turned - sizes / 2, sizes),
    }
    return {what: np.concatenate([corner, np.maximum(size, 0)], axis=1) for what, (corner, size) in found.items()}


def _categories(scored: Scored, given: Given) -> Iterator[_Reading]:
    """Readings of category ids as other numbers."""
    ids = np.array(scored.categories, np.int64)
    written = ids[scored.detections.category]
    do = f"give the annotations' ids, {ids.min()} to {ids.max()}"
    if given.model:
        do = given.with_flags("the model's classes are numbered differently", ["class-labels"])
    for what, places in {
        "indices of the list of categories, from 0": written,
        "indices of the list of categories, from 1": written - 1,
        "ids that are 1 too low (is there no background?)": _places(ids, written + 1),
        "ids that are 1 too high (is 0 the background?)": _places(ids, written - 1),
    }.items():
        known = np.flatnonzero((places >= 0) & (places < len(ids)))
        moved = scored.detections._replace(category=places).take(known)
        yield _Reading(moved, f"category ids are read as {what}", do)


def _places(ids: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The indices of numbers among sorted ids; -1 for a number that is not an id."""
    places = np.searchsorted(ids, numbers)
    return np.where(np.append(ids, -1)[places] == numbers, places, -1)


def _found_regardless(scored: Scored) -> NDArray[np.bool_]:
    """Whether each object is found, regardless of categories."""
    objects = scored.objects._replace(category=np.zeros_like(scored.objects.category))
    detections = scored.detections._replace(category=np.zeros_like(scored.detections.category))
    return match(objects, detections, 1).found


def _causes(scored: Scored, as_is: _Found, given: Given) -> str:
    """What may be wrong, as far as the boxes show."""
    found = _found_regardless(scored)
    if np.count_nonzero(found) > 2 * as_is.found + len(found) / 4:
        ids = "they are in another order than the annotations' ids"
        return (
            f"Boxes fit ({found.mean():.0%} of the objects are found regardless of category), but categories do not: "
            f"{given.with_flags(ids, ['class-labels'])}"
        )
    others = (
        "" if given.model else "boxes of other images (ids in another order), or in the pixels of the model's input, "
    )
    decoded = f"{given.with_flags('outputs that need another decoding', ['head'])}, " if given.model else ""
    return (
        f"Boxes do not fit, regardless of category; usual causes: {others}{decoded}{given.pixels()}, or a model "
        "without weights"
    )
