"""Boxes as COCO results in source pixels: the best of each image, without those that overlap better ones.

Box noise comes between a head's decoding and the choice among its boxes, whichever head decoded them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from generators.boxes import NONE, BoxNoise
from pipelines.errors import UsageError
from pipelines.evaluate.model.heads import CATEGORIES, HEADS, Boxes, Floats
from pipelines.evaluate.model.inputs import Image, Inputs
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.model.runtimes import Outputs

# What COCO's evaluation looks at (pycocotools, `maxDets`).
MAX_DETECTIONS = 100


class Chosen(NamedTuple):
    """What is left of an image's boxes, best first: corners (n, 4) in input pixels, scores (n,), classes (n,) 0-79."""

    corners: Floats
    scores: Floats
    classes: NDArray[np.int64]


def choose(boxes: Boxes, threshold: float, iou: float, one_class: bool, noise: BoxNoise = NONE) -> Chosen:
    """Non-maximum suppression within each class, and the best 100 of an image.

    Sides are those that `noise` gives; boxes that it leaves nothing of are dropped, as United-Perception's
    `filter_by_size` does.
    """
    some = boxes.scores.max(axis=1, initial=0) > threshold
    if noise != NONE:  # of which two that nothing is left of would be one to OpenCV, wherever they are
        some &= (noise.sides(boxes.corners) > 0).all(axis=1)
    corners, scores = boxes.corners[some], boxes.scores[some]
    likely = scores > threshold
    if one_class:
        likely &= np.arange(scores.shape[1]) == scores.argmax(axis=1, keepdims=True)
    rows, classes = np.nonzero(likely)
    scores, corners = scores[rows, classes], corners[rows]
    # OpenCV keeps classes apart by moving them, which takes coordinates from 0 on.
    rectangles = np.concatenate([corners[:, :2] - corners.min(initial=0), noise.sides(corners)], axis=1)
    found = cv2.dnn.NMSBoxesBatched(rectangles.tolist(), scores.tolist(), classes.tolist(), threshold, iou)
    kept = np.array(found, np.int64)
    best = kept[np.argsort(-scores[kept], kind="stable")][:MAX_DETECTIONS]
    return Chosen(corners[best], scores[best], classes[best])


class Results:
    """A COCO results list, a result a line."""

    suffix = ".json"

    def write(self, rows: Sequence[str], path: Path) -> None:
        path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")

    def join(self, parts: Sequence[Path], path: Path) -> None:
        with open(path, "w", encoding="utf-8") as whole:
            before = "[\n"
            for part in parts:
                with open(part, encoding="utf-8") as file:
                    for line in file:
                        whole.write(before + line.rstrip("\n"))
                        before = ",\n"
            whole.write("\n]\n" if before != "[\n" else "[\n]\n")


def check(dataset: str, preprocessing: Preprocessing) -> None:
    """Raises UsageError where no head is stated."""
    if preprocessing.head is None:
        raise UsageError(
            f'a detector needs a head, to read its outputs by ({dataset}): give head = "yolox" or "nanodet"; score '
            "others by --predictions"
        )
    for key in ("output", "upsample"):
        if getattr(preprocessing, key) is not None:
            raise UsageError(f'{key} = "{getattr(preprocessing, key)}" is not for detectors: leave it out')


class Detector:
    """Reads a detector's outputs; made from those for one image, by which they are checked."""

    def __init__(self, preprocessing: Preprocessing, inputs: Inputs, outputs: Outputs) -> None:
        assert preprocessing.head is not None
        self._head = HEADS[preprocessing.head]
        self._preprocessing = preprocessing
        self._width, self._height = inputs.width, inputs.height
        self.names = tuple(outputs)
        # Settled once: a single score may stray outside of 0 to 1.
        self._logits = self._head.decode(_of_image(outputs, 0, 1), self._width, self._height, None, 1.0).logits
        read_as = "logits, and their sigmoid is taken" if self._logits else "probabilities"
        self.note = f"{preprocessing.head}: the model's scores are read as {read_as}"

    def are_scores(self, output: Floats) -> bool:
        """Whether an output can be read: infinity is no place."""
        return bool(np.isfinite(output).all())

    def read(self, outputs: Outputs, images: Sequence[Image], kinds: Sequence[BoxNoise]) -> list[list[str]]:
        """COCO results of these images for each kind of box noise; those that the annotations do not know have none."""
        found: list[list[str]] = [[] for _ in kinds]
        for index, image in enumerate(images):
            if image.info["image_id"] >= 0:
                own = _of_image(outputs, index, len(images))
                threshold = self._preprocessing.score_threshold
                boxes = self._head.decode(own, self._width, self._height, self._logits, threshold)
                for rows, noise in zip(found, kinds, strict=True):
                    rows += _lines(_results(self._chosen(boxes, noise), image, noise))
        return found

    def _chosen(self, boxes: Boxes, noise: BoxNoise) -> Chosen:
        stated = self._preprocessing
        noised = boxes._replace(
            corners=noise.decoded(boxes.corners, (self._width, self._height) if self._head.clips else None)
        )
        return choose(noised, stated.score_threshold, stated.nms_iou, self._head.one_class, noise)


def _lines(results: Iterable[dict[str, Any]]) -> list[str]:
    """Results as JSON, made in one call, since as many calls take longer than all else that is done for an image."""
    text = json.dumps(list(results))[1:-1]
    return text.replace("}, {", "}\n{").split("\n") if text else []  # they hold numbers alone


def _of_image(outputs: Outputs, index: int, count: int) -> list[Floats]:
    """One image's part of the outputs, which for a single image may lack the axis of the batch."""
    return [output[index] if output.ndim > 2 and len(output) == count else output for output in outputs.values()]


def _results(found: Chosen, image: Image, noise: BoxNoise) -> Iterator[dict[str, Any]]:
    info = image.info
    offset = np.array([info["crop_x"] - image.left, info["crop_y"] - image.top] * 2, np.float64)
    corners = (found.corners + offset) / np.array([info["scale_x"], info["scale_y"]] * 2)
    boxes = np.concatenate([corners[:, :2], noise.sides(corners)], axis=1)
    for box, score, label in zip(boxes.round(3).tolist(), found.scores.tolist(), found.classes, strict=True):
        category = CATEGORIES[label]
        yield {"image_id": info["image_id"], "category_id": category, "bbox": box, "score": round(score, 6)}
