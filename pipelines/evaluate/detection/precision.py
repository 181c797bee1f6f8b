"""Mean average precision of weighted images: pycocotools' `accumulate`, for many sets of weights at once.

Weights are whole numbers, so sums are exact in any order: figures depend only on the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pipelines.evaluate.detection.matching import Category

# Precision is averaged at the recalls 0, 0.01, ... 1: pycocotools' recThrs are these multiples, to the bit.
_RECALLS, _STEP = 101, 0.01
# Values of 8 bytes at a time: bounds memory, and fits a CPU's cache.
_VALUES_AT_ONCE = 1 << 18
_ROWS = 8  # rows of a block in `_accumulate`


class _Curve(NamedTuple):
    """The true detections of a category at one IoU threshold, best first.

    `row` is the index of each among those that are true at any threshold, and `image` is its image. `ignored` has the
    images of the ignored detections, and `before` how many of these are better than each true one.
    """

    row: NDArray[np.int64]
    image: NDArray[np.int64]
    ignored: NDArray[np.int64]
    before: NDArray[np.int64]


class _Ranking(NamedTuple):
    """A category's detections: for each one that is true at any threshold, the `counts` by image of the detections
    since the previous one; and the curve of each threshold.
    """

    counts: sparse.csr_matrix
    curves: Sequence[_Curve]


class Precision:
    """The mAP of one file's matches, as a function of how often each image counts."""

    def __init__(self, categories: Sequence[Category], images: int) -> None:
        self._rankings = [_ranking(category, images) for category in categories]
        place = np.repeat(np.arange(len(categories)), [len(category.objects) for category in categories])
        image = np.concatenate([np.zeros(0, np.int64), *(category.objects for category in categories)])
        self._objects = _counts(place, image, (len(categories), images))

    def mean(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """mAP for each row of `weights` (resamples, images): the mean over thresholds and categories with objects.

        NaN if there are no objects.
        """
        columns = np.ascontiguousarray(weights.T)
        objects = self._objects @ columns
        total, counted = np.zeros(len(weights)), np.count_nonzero(objects, axis=0).astype(np.float64)
        for ranking, of_category in zip(self._rankings, objects, strict=True):
            total += _average(ranking, columns, of_category)
        counted[counted == 0] = np.nan
        mean: NDArray[np.float64] = total / counted
        return mean


def _counts(rows: NDArray[np.int64], images: NDArray[np.int64], shape: tuple[int, int]) -> sparse.csr_matrix:
    """How often each pair of row and image occurs."""
    return sparse.csr_matrix((np.ones(len(rows)), (rows, images)), shape=shape)


def _ranking(category: Category, images: int) -> _Ranking:
    true = np.flatnonzero(category.right.any(axis=0))
    # The true detection that each precedes; no figure depends on those after the last.
    rows = np.searchsorted(true, np.arange(len(category.image)))
    within = rows < len(true)
    counts = _counts(rows[within], category.image[within], (len(true), images))
    return _Ranking(counts, [_curve(category, number, true) for number in range(len(category.right))])


def _curve(category: Category, threshold: int, true: NDArray[np.int64]) -> _Curve:
    places, ignored = np.flatnonzero(category.right[threshold]), np.flatnonzero(category.ignored[threshold])
    return _Curve(
        np.searchsorted(true, places),
        category.image[places],
        category.image[ignored],
        np.searchsorted(ignored, places),
    )


def _average(ranking: _Ranking, weights: NDArray[np.float64], objects: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over thresholds of average precision, for each column of weights; 0 if there are no objects."""
    divisors = np.where(objects > 0, objects, 1)  # without objects, nothing is found
    at_once = max(1, _VALUES_AT_ONCE // max(1, ranking.counts.shape[0]))
    sums = []
    for first in range(0, len(divisors), at_once):
        part = np.ascontiguousarray(weights[:, first : first + at_once])
        sums.append(_sum(ranking, part, divisors[first : first + at_once]))
    mean: NDArray[np.float64] = np.concatenate(sums) / (_RECALLS * len(ranking.curves))
    return mean


def _sum(ranking: _Ranking, weights: NDArray[np.float64], objects: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of the precisions at all recalls and thresholds."""
    total = np.zeros(len(objects))
    nothing = np.zeros((1, len(objects)))
    seen = _accumulate(np.add, ranking.counts @ weights)
    for curve in ranking.curves:
        if not len(curve.row):
            continue
        true = _accumulate(np.add, weights[curve.image])
        counted = seen[curve.row]
        if len(curve.ignored):
            counted -= _accumulate(np.add, np.append(nothing, weights[curve.ignored], axis=0))[curve.before]
        precision = true / (counted + np.spacing(1))
        best = _accumulate(np.maximum, precision[::-1])[::-1]
        reached = _reached(true / objects)
        # `reached` steps by the number of recalls that each true detection is the first to reach.
        total += best[0] * reached[0] + np.einsum("ij,ij->j", best[1:], reached[1:] - reached[:-1])
    return total


def _reached(recall: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many of the 101 recalls are at or below each value."""
    nearest = np.rint(recall * (_RECALLS - 1))
    reached: NDArray[np.float64] = nearest + (nearest * _STEP <= recall)
    return reached


def _accumulate(function: np.ufunc, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """`function.accumulate` along the rows, in place, for a function that does not depend on order.

    NumPy goes down each column value by value; here most steps are on whole rows.
    """
    whole = len(values) // _ROWS * _ROWS
    blocks = values[:whole].reshape(-1, _ROWS, values.shape[1])
    for row in range(1, _ROWS):
        function(blocks[:, row], blocks[:, row - 1], out=blocks[:, row])
    ends = function.accumulate(blocks[:, -1], axis=0)
    function(blocks[1:], ends[:-1, None], out=blocks[1:])
    rest = values[max(0, whole - 1) :]
    function.accumulate(rest, axis=0, out=rest)
    return values
