"""Boxes as COCO results in source pixels: the best of each image, without those that overlap better ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.evaluate.model.heads import CATEGORIES, HEADS, Boxes, Floats
from pipelines.evaluate.model.inputs import Image, Inputs
from pipelines.evaluate.model.preprocessing import Preprocessing

# What COCO's evaluation looks at (pycocotools, `maxDets`).
MAX_DETECTIONS = 100


class Chosen(NamedTuple):
    """What is left of an image's boxes, best first: corners (n, 4) in input pixels, scores (n,), classes (n,) 0-79."""

    corners: Floats
    scores: Floats
    classes: NDArray[np.int64]


def choose(boxes: Boxes, threshold: float, iou: float, one_class: bool) -> Chosen:
    """Non-maximum suppression within each class, and the best 100 of an image."""
    likely = boxes.scores > threshold
    if one_class:
        likely &= np.arange(len(CATEGORIES)) == boxes.scores.argmax(axis=1, keepdims=True)
    rows, classes = np.nonzero(likely)
    scores, corners = boxes.scores[rows, classes], boxes.corners[rows]
    # OpenCV keeps classes apart by moving them, which takes coordinates from 0 on.
    sides = np.concatenate([corners[:, :2] - corners.min(initial=0), corners[:, 2:] - corners[:, :2]], axis=1)
    found = cv2.dnn.NMSBoxesBatched(sides.tolist(), scores.tolist(), classes.tolist(), threshold, iou)
    kept = np.array(found, np.int64)
    best = kept[np.argsort(-scores[kept], kind="stable")][:MAX_DETECTIONS]
    return Chosen(corners[best], scores[best], classes[best])


class Detector:
    """Reads a detector's outputs; made from those for one image, by which they are checked."""

    suffix = ".json"

    def __init__(self, preprocessing: Preprocessing, inputs: Inputs, outputs: Sequence[Floats]) -> None:
        assert preprocessing.head is not None
        self._head = HEADS[preprocessing.head]
        self._preprocessing = preprocessing
        self._width, self._height = inputs.width, inputs.height
        # Settled once: a single score may stray outside of 0 to 1.
        self._logits = self._head.decode(_of_image(outputs, 0, 1), self._width, self._height, None).logits
        read_as = "logits, and their sigmoid is taken" if self._logits else "probabilities"
        self.note = f"{preprocessing.head}: the model's scores are read as {read_as}"

    def read(self, outputs: Sequence[Floats], images: Sequence[Image]) -> Iterator[dict[str, Any]]:
        """COCO results of these images; those that the annotations do not know have none."""
        for index, image in enumerate(images):
            if image.info["image_id"] >= 0:
                own = _of_image(outputs, index, len(images))
                boxes = self._head.decode(own, self._width, self._height, self._logits)
                stated = self._preprocessing
                found = choose(boxes, stated.score_threshold, stated.nms_iou, self._head.one_class)
                yield from _results(found, image)

    def write(self, path: Path, rows: Iterator[dict[str, Any]]) -> None:
        """A COCO results list, a result a line."""
        with open(path, "w", encoding="utf-8") as file:
            file.write("[")
            for number, row in enumerate(rows):
                file.write(f"{',' if number else ''}\n{json.dumps(row)}")
            file.write("\n]\n")


def _of_image(outputs: Sequence[Floats], index: int, count: int) -> list[Floats]:
    """One image's part of the outputs, which for a single image may lack the axis of the batch."""
    return [output[index] if output.ndim > 2 and len(output) == count else output for output in outputs]


def _results(found: Chosen, image: Image) -> Iterator[dict[str, Any]]:
    info = image.info
    offset = np.array([info["crop_x"] - image.left, info["crop_y"] - image.top] * 2, np.float64)
    corners = (found.corners + offset) / np.array([info["scale_x"], info["scale_y"]] * 2)
    corners[:, 2:] -= corners[:, :2]
    for box, score, label in zip(corners.round(3).tolist(), found.scores.tolist(), found.classes, strict=True):
        category = CATEGORIES[label]
        yield {"image_id": info["image_id"], "category_id": category, "bbox": box, "score": round(score, 6)}
