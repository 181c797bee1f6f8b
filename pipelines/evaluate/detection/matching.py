"""Which detection finds which object: COCOeval's greedy matching, of all categories and images of a file.

Which pairs match, which detections and objects are ignored and which of equals comes first is as in pycocotools'
`evaluateImg`, for all areas and 100 detections of a category in an image; but an object is told by its place, where
pycocotools goes by ids, and takes a match with the object of id 0 for none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle
from pycocotools.cocoeval import Params

_PARAMS = Params(iouType="bbox")  # those of masks are the same
THRESHOLDS: NDArray[np.float64] = _PARAMS.iouThrs
_MOST: int = _PARAMS.maxDets[-1]  # detections of a category in an image
_LEAST_AREA, _LARGEST_AREA = _PARAMS.areaRng[0]


class Objects(NamedTuple):
    """What is to be found: for each object its image and category (places among those scored, int64), whether it is a
    crowd, or ignored (bool), and its region: a box (float64 of shape (objects, 4)) or an RLE (object).
    """

    image: NDArray[np.int64]
    category: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    region: NDArray[Any]

    def take(self, places: NDArray[np.int64]) -> Objects:
        """Those at these places, in this order."""
        return Objects._make(column[places] for column in self)


class Detections(NamedTuple):
    """What was found: for each detection its image and category (as for objects), its score (float64) and region."""

    image: NDArray[np.int64]
    category: NDArray[np.int64]
    score: NDArray[np.float64]
    region: NDArray[Any]

    def take(self, places: NDArray[np.int64]) -> Detections:
        """Those at these places, in this order."""
        return Detections._make(column[places] for column in self)


class Category(NamedTuple):
    """One category's detections, best first, and its objects.

    `image` is int64 of shape (detections,): the place of the image among those scored; `right` and `ignored` are bool
    of shape (IoU thresholds, detections); `objects` int64 of shape (objects,): the image of each that counts.
    """

    image: NDArray[np.int64]
    right: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    objects: NDArray[np.int64]


class Matches(NamedTuple):
    """What was matched: by category, and for each object that counts (in a fixed order) its image, and if it was found.

    An object counts as found where any detection of its class, whatever its score, matches it at an IoU of 0.5.
    """

    categories: Sequence[Category]
    object_image: NDArray[np.int64]
    found: NDArray[np.bool_]


def out_of_range(area: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which areas are outside COCO's range of all areas: nothing real is."""
    return np.asarray((area < _LEAST_AREA) | (area > _LARGEST_AREA), bool)


def match(objects: Objects, detections: Detections, categories: int) -> Matches:
    """Match the detections of all categories, numbered from 0."""
    objects = objects.take(_order(objects, objects.ignored))
    detections = detections.take(_best(detections))
    matched = np.full((len(THRESHOLDS), len(detections.score)), -1)
    for theirs, own in _together(objects, detections):
        crowd, ignored = objects.crowd[theirs].tolist(), objects.ignored[theirs].tolist()
        ious = rle.iou(detections.region[own].tolist(), objects.region[theirs].tolist(), crowd)
        for threshold, found, place in _greedy(ious, crowd, ignored):
            matched[threshold, own.start + found] = theirs.start + place
    return _collect(objects, detections, matched, categories)


def _order(columns: Objects | Detections, last: NDArray[Any]) -> NDArray[np.int64]:
    """By category, image and `last`; equal ones stay in order."""
    order: NDArray[np.int64] = np.lexsort((last, columns.image, columns.category))
    return order


def _best(detections: Detections) -> NDArray[np.int64]:
    """The places of the best detections of each category in each image, by category, image and score."""
    order = _order(detections, -detections.score)
    image, category = detections.image[order], detections.category[order]
    starts = np.flatnonzero((np.diff(image, prepend=-1) != 0) | (np.diff(category, prepend=-1) != 0))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return order[rank < _MOST]


def _together(objects: Objects, detections: Detections) -> Iterator[tuple[slice, slice]]:
    """The slices of objects and detections of one category in one image, where there are both; both are in order."""
    images = 1 + max(objects.image.max(initial=0), detections.image.max(initial=0))
    true, found = (columns.category * images + columns.image for columns in (objects, detections))
    each = np.unique(true)
    bounds = [np.searchsorted(keys, each, side).tolist() for keys in (true, found) for side in ("left", "right")]
    for first, last, begin, end in zip(*bounds, strict=True):
        if begin < end:
            yield slice(first, last), slice(begin, end)


def _greedy(
    ious: NDArray[np.float64], crowd: Sequence[bool], ignored: Sequence[bool]
) -> Iterator[tuple[int, int, int]]:
    """The matches in one image, as threshold, detection and object.

    Detections take their turn, best first. Each takes the object that it overlaps most, the last of equals; an ignored
    one, which all come last, only where there is no other; one that is taken only where it is a crowd.
    """
    # Not >=: to pycocotools, a NaN matches.
    rows, columns = np.nonzero(~(ious < THRESHOLDS[0]))
    pairs = list(zip(rows.tolist(), columns.tolist(), ious[rows, columns].tolist(), strict=True))
    by_detection = [(found, list(those)) for found, those in groupby(pairs, key=lambda pair: pair[0])]
    for number, threshold in enumerate(THRESHOLDS.tolist()):
        taken = set[int]()
        for found, those in by_detection:
            best, place = threshold, -1
            for _, candidate, iou in those:
                if candidate in taken and not crowd[candidate]:
                    continue
                if place >= 0 and ignored[candidate] and not ignored[place]:
                    break
                if not iou < best:
                    best, place = iou, candidate
            if place >= 0:
                taken.add(place)
                yield number, found, place


def _collect(objects: Objects, detections: Detections, matched: NDArray[np.int64], categories: int) -> Matches:
    """The matches by category; `matched` is each detection's object for each threshold, or -1."""
    there = matched >= 0
    ignored = np.append(objects.ignored, False)[matched] | (~there & out_of_range(_area(detections)))
    bounds = np.searchsorted(detections.category, np.arange(categories + 1))
    counts = ~objects.ignored
    found = np.zeros(len(counts), bool)
    found[matched[0][there[0]]] = True
    by_category = []
    for category in range(categories):
        own = slice(bounds[category], bounds[category + 1])
        best = bounds[category] + np.argsort(-detections.score[own], kind="stable")
        truth = objects.image[counts & (objects.category == category)]
        by_category.append(
            Category(detections.image[best], (there & ~ignored)[:, best], ignored[:, best], truth),
        )
    return Matches(by_category, objects.image[counts], found[counts])


def _area(detections: Detections) -> NDArray[np.float64]:
    """The areas of boxes; of masks, which lie in their images, none is too large."""
    if detections.region.ndim == 1:
        return np.zeros(len(detections.region))
    return np.asarray(detections.region[:, 2] * detections.region[:, 3], np.float64)
