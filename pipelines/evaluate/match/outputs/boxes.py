"""Compares detections in source pixels: two sets of boxes, paired so that they overlap most.

The distance is 1 − the intersection of the two sets over their union, with each box weighted by its score: a pair
shares its IoU times the lower of its scores, and only boxes of the same category are paired. It is 0 only for the same
boxes, and 1 if nothing overlaps; boxes with low scores matter little. The model's boxes below the lowest score that the
device shows are left out, since the device has its own threshold, and so are all but an image's 100 best.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from generators.boxes import BoxNoise
from pipelines.evaluate.match.outputs.compare import Answer, Apart
from pipelines.evaluate.match.outputs.values import Boxes
from pipelines.evaluate.model.inputs import Image
from pipelines.evaluate.model.readers import Reader
from pipelines.evaluate.model.runtimes import Outputs

# The boxes per image that COCO's evaluation considers (pycocotools, `maxDets`).
_MOST = 100
# The precision with which score.py writes results: pixels, and scores.
_DIGITS = (1e-3, 1e-6)
# How much another runtime's rounding may change: 1e-5 of 2,000 pixels, and a score by 1e-4.
_ROUNDING = (2e-2, 1e-4)
# The IoU from which a box counts as found by another of its category, as in VOC.
_FOUND = 0.5


class Detections:
    """Compares boxes: the device's, by key, with those that a reader decodes from the model's outputs."""

    decoded = True
    heads = ("distance", "max |Δ| px", "boxes found")
    unit = "distance: 1 − the overlap of the device's and the variant's boxes, weighted by score (0: the same)."

    def __init__(self, theirs: Mapping[str, Boxes], reader: Reader, notes: Sequence[str] = ()) -> None:
        self._reader = reader
        some = [boxes for boxes in theirs.values() if len(boxes)]
        self._least = min((float(boxes[:, 4].min()) for boxes in some), default=0.0) - _DIGITS[1]
        self.theirs: Mapping[str, Answer] = {key: (self._best(boxes),) for key, boxes in theirs.items()}
        self.notes: Sequence[str] = [*notes, *([reader.note] if reader.note else [])]

    def answers(self, outputs: Outputs, images: Sequence[Image], noises: Sequence[BoxNoise]) -> list[list[Answer]]:
        return [self._by_image(rows, images) for rows in self._reader.read(outputs, images, noises)]

    def apart(self, theirs: Answer, mine: Answer) -> Apart:
        (one,), (other,) = theirs, mine
        overlaps = _overlaps(one, other)
        common = np.minimum(one[:, 4][:, None], other[:, 4][None]) * overlaps
        rows, columns = linear_sum_assignment(common, maximize=True)
        shared = float(common[rows, columns].sum())
        union = float(one[:, 4].sum() + other[:, 4].sum()) - shared
        mean = max(0.0, 1 - shared / union) if union > 0 else float(len(one) != len(other))
        paired = overlaps[rows, columns] > 0
        whole = len(one) == len(other) == int(np.count_nonzero(paired))
        moved = np.abs(_corners(one)[rows] - _corners(other)[columns]).max(axis=1, initial=0)
        pixels = float(moved.max(initial=0))
        scores = float(np.abs(one[rows, 4] - other[columns, 4]).max(initial=0))
        within = [whole and pixels <= most and scores <= share for most, share in (_DIGITS, _ROUNDING)]
        again = overlaps[rows, columns] >= _FOUND
        found = float(np.count_nonzero(again)) / len(one) if len(one) else float(not len(other))
        return Apart(0.0 if within[0] else mean, float(moved[again].max(initial=0)), within[0], within[1], found)

    def _by_image(self, rows: Sequence[str], images: Sequence[Image]) -> list[Answer]:
        by_image: dict[int, list[Any]] = {image.info["image_id"]: [] for image in images}
        for row in rows:
            result = json.loads(row)
            by_image[result["image_id"]].append([*result["bbox"], result["score"], result["category_id"]])
        return [
            (self._best(np.array(by_image[image.info["image_id"]], np.float64).reshape(-1, 6)),) for image in images
        ]

    def _best(self, boxes: Boxes) -> Boxes:
        likely = boxes[boxes[:, 4] >= self._least]
        return likely[np.argsort(-likely[:, 4], kind="stable")[:_MOST]]


def _corners(boxes: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:4]], axis=1)


def _overlaps(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """IoU of every pair of boxes; 0 for different categories, 1 for equal boxes without area."""
    first, second = _corners(one)[:, None], _corners(other)[None]
    sides = (np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])).clip(0)
    shared = sides.prod(axis=-1)
    union = one[:, 2:4].prod(axis=1)[:, None] + other[:, 2:4].prod(axis=1)[None] - shared
    same = (first == second).all(axis=-1)
    overlaps: NDArray[np.float64] = np.where(same, 1.0, shared / np.maximum(union, np.finfo(np.float64).tiny))
    return np.where(one[:, 5][:, None] == other[:, 5][None], overlaps, 0.0)
