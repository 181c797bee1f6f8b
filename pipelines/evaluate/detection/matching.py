"""Which detection finds which object: COCOeval's greedy matching, for all categories and images of a file.

Matches, ignored detections and objects, and the order of ties are as in pycocotools' `evaluateImg`, for all areas and
100 detections of a category in an image. One difference: objects are identified by their place. pycocotools uses ids,
and takes a match with the object of id 0 for no match.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle
from pycocotools.cocoeval import Params

_PARAMS = Params(iouType="bbox")  # the same for masks
THRESHOLDS: NDArray[np.float64] = _PARAMS.iouThrs
_MOST: int = _PARAMS.maxDets[-1]  # detections per category and image
_LEAST_AREA, _LARGEST_AREA = _PARAMS.areaRng[0]


class Objects(NamedTuple):
    """The objects to find: for each its image and category (int64 indices of those scored), whether it is a crowd,
    whether it is ignored (bool), and its region: a box (float64 of shape (objects, 4)) or an RLE (object).
    """

    image: NDArray[np.int64]
    category: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    region: NDArray[Any]

    def take(self, places: NDArray[np.int64]) -> Objects:
        return Objects._make(column[places] for column in self)


class Detections(NamedTuple):
    """Detections: for each its image and category (as for objects), its score (float64) and its region."""

    image: NDArray[np.int64]
    category: NDArray[np.int64]
    score: NDArray[np.float64]
    region: NDArray[Any]

    def take(self, places: NDArray[np.int64]) -> Detections:
        return Detections._make(column[places] for column in self)


class Category(NamedTuple):
    """One category's detections, best first, and its objects.

    `image` is int64 of shape (detections,), an index of the scored images; `right` and `ignored` are bool of shape (IoU
    thresholds, detections); `objects` is int64 of shape (objects,), the image of each object that is not ignored.
    """

    image: NDArray[np.int64]
    right: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    objects: NDArray[np.int64]


class Matches(NamedTuple):
    """The matches by category; and for each object that is not ignored, in a fixed order, its image and whether it is
    found: whether any detection of its category, whatever its score, matches it at an IoU of 0.5.
    """

    categories: Sequence[Category]
    object_image: NDArray[np.int64]
    found: NDArray[np.bool_]


def out_of_range(area: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which areas are outside COCO's range "all"; those of real objects never are."""
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
    """The stable order by category, image and `last`."""
    order: NDArray[np.int64] = np.lexsort((last, columns.image, columns.category))
    return order


def _best(detections: Detections) -> NDArray[np.int64]:
    """The indices of the best detections of each category in each image, by category, image and score."""
    order = _order(detections, -detections.score)
    image, category = detections.image[order], detections.category[order]
    starts = np.flatnonzero((np.diff(image, prepend=-1) != 0) | (np.diff(category, prepend=-1) != 0))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return order[rank < _MOST]


def _together(objects: Objects, detections: Detections) -> Iterator[tuple[slice, slice]]:
    """The slices of objects and detections that share a category and an image; both must be in order."""
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
    """The matches of one category in one image, as threshold, detection and object.

    Detections choose in turn, best first. Each takes the object that it overlaps most, the last of ties; an ignored
    object (these come last) only if it matches no other, and one that is already taken only if it is a crowd.
    """
    # Not >=: in pycocotools, NaN matches.
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
    matching = matched >= 0
    ignored = np.append(objects.ignored, False)[matched] | (~matching & out_of_range(_area(detections)))
    bounds = np.searchsorted(detections.category, np.arange(categories + 1))
    counts = ~objects.ignored
    found = np.zeros(len(counts), bool)
    found[matched[0][matching[0]]] = True
    by_category = []
    for category in range(categories):
        own = slice(bounds[category], bounds[category + 1])
        best = bounds[category] + np.argsort(-detections.score[own], kind="stable")
        truth = objects.image[counts & (objects.category == category)]
        by_category.append(
            Category(detections.image[best], (matching & ~ignored)[:, best], ignored[:, best], truth),
        )
    return Matches(by_category, objects.image[counts], found[counts])


def _area(detections: Detections) -> NDArray[np.float64]:
    """The areas of boxes; 0 for masks, which lie within their images and are never too large."""
    if detections.region.ndim == 1:
        return np.zeros(len(detections.region))
    return np.asarray(detections.region[:, 2] * detections.region[:, 3], np.float64)
