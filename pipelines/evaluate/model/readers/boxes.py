"""A detector's outputs as COCO results in source pixels: the best boxes of each image, after suppression.

Box noise is added between a head's decoding and the selection among its boxes, for any head.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from generators.boxes import NONE, BoxNoise
from pipelines.errors import UsageError
from pipelines.evaluate.model.heads import HEADS, find_head
from pipelines.evaluate.model.heads.common import Boxes, Floats, Given
from pipelines.evaluate.model.inputs import Image, Inputs
from pipelines.evaluate.model.preprocessing import Preprocessing, check_distinct
from pipelines.evaluate.model.runtimes import Outputs

# How many boxes of an image COCO's evaluation uses (pycocotools, `maxDets`).
MAX_DETECTIONS = 100
# How many boxes suppression looks at first: more are rarely needed to keep `MAX_DETECTIONS`.
_FIRST = 1000


def choose(boxes: Boxes, iou: float | None, noise: BoxNoise = NONE) -> Boxes:
    """The best 100 boxes of an image, best first, after non-maximum suppression within each class if there is an `iou`.

    Sides are computed as `noise` does; boxes without an area then are dropped, as by United-Perception's
    `filter_by_size`.
    """
    if noise != NONE:  # OpenCV takes any two boxes without an area for the same
        boxes = _rows(boxes, (noise.sides(boxes.corners) > 0).all(axis=1))
    boxes = _rows(boxes, np.argsort(-boxes.scores, kind="stable"))
    return _rows(boxes, slice(MAX_DETECTIONS) if iou is None else _kept(boxes, iou, noise))


def _kept(boxes: Boxes, iou: float, noise: BoxNoise) -> NDArray[np.int64]:
    """The indices of the best boxes that suppression keeps; `boxes` are sorted, best first."""
    # OpenCV separates classes by shifting their boxes, which needs coordinates of at least 0.
    first = boxes.corners[:, :2] - boxes.corners.min(initial=0)
    rectangles = np.concatenate([first, noise.sides(boxes.corners)], axis=1)
    count = _FIRST
    while True:
        own, scores, classes = (values[:count].tolist() for values in (rectangles, boxes.scores, boxes.classes))
        kept = np.array(cv2.dnn.NMSBoxesBatched(own, scores, classes, 0.0, iou), np.int64)
        if len(kept) >= MAX_DETECTIONS or count >= len(boxes.scores):
            return kept[:MAX_DETECTIONS]
        count *= 4


def _rows(boxes: Boxes, which: Any) -> Boxes:
    return Boxes(*(values[which] for values in boxes))


class Results:
    """A COCO results list, one result per line."""

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
    """Raises UsageError for keys of another kind of model, and for suppression with a head that has none."""
    head = preprocessing.head
    if head is not None and preprocessing.nms_iou is not None and HEADS[head].nms_iou is None:
        raise UsageError(f"nms_iou is stated, but boxes of the head {head} are not suppressed here: leave it out")
    for key in ("output", "upsample"):
        if getattr(preprocessing, key) is not None:
            raise UsageError(f'{key} = "{getattr(preprocessing, key)}" is not for detectors: leave it out')
    check_distinct(preprocessing)


def refusal(head: str, noise: BoxNoise) -> str | None:
    """Why box noise does not apply to a head; None if it does."""
    if noise.side_offset and HEADS[head].nms_iou is None:
        return "its boxes are not suppressed here, which is where their sides would count"
    return None


class Detector:
    """Reads a detector's outputs; its head is decided by the outputs for one image."""

    def __init__(self, preprocessing: Preprocessing, inputs: Inputs, outputs: Outputs) -> None:
        stated = preprocessing
        frame = inputs.width, inputs.height
        if not all(self.are_scores(output) for output in outputs.values() if output.dtype == np.float32):
            raise UsageError("the model gives NaN or infinity for the first image: is its preprocessing right?")
        given = Given(*frame, stated.boxes, stated.labels, stated.class_offset)
        self.names = tuple(outputs)
        # Decided once: a single score may stray outside 0 to 1.
        self._name, self._fit, self._categories = find_head(stated.head, _of_image(outputs, 0, 1), given)
        head = HEADS[self._name]
        thresholds = head if stated.head is None else stated
        self._threshold, self._iou = thresholds.score_threshold, thresholds.nms_iou
        self._clip = frame if head.clips else None
        recognised = "" if stated.head else " (recognised from the outputs)"
        self.note = f"head {self._name}{recognised}: {self._fit.note}"

    def are_scores(self, output: Floats) -> bool:
        """Whether all values are finite, as coordinates must be."""
        return bool(np.isfinite(output).all())

    def refusal(self, noise: BoxNoise) -> str | None:
        return refusal(self._name, noise)

    def read(self, outputs: Outputs, images: Sequence[Image], kinds: Sequence[BoxNoise]) -> list[list[str]]:
        """COCO results of these images for each box noise; images that are not in the annotations have none."""
        found: list[list[str]] = [[] for _ in kinds]
        for index, image in enumerate(images):
            if image.info["image_id"] >= 0:
                boxes = self._boxes(_of_image(outputs, index, len(images)))
                for rows, noise in zip(found, kinds, strict=True):
                    rows += _lines(_results(self._chosen(boxes, noise), image, noise))
        return found

    def _boxes(self, outputs: Outputs) -> Boxes:
        """One image's boxes with category ids as classes; those without one are dropped before the best are chosen."""
        boxes = self._fit.decode(outputs, self._threshold)
        boxes = boxes._replace(classes=self._categories.of(boxes.classes))
        return _rows(boxes, boxes.classes >= 0)

    def _chosen(self, boxes: Boxes, noise: BoxNoise) -> Boxes:
        return choose(boxes._replace(corners=noise.decoded(boxes.corners, self._clip)), self._iou, noise)


def _lines(results: Iterable[dict[str, Any]]) -> list[str]:
    """Results as JSON, made in one call, since a call for each takes longer than all other work for an image."""
    text = json.dumps(list(results))[1:-1]
    return text.replace("}, {", "}\n{").split("\n") if text else []  # safe, since results contain only numbers


def _of_image(outputs: Outputs, index: int, count: int) -> dict[str, NDArray[Any]]:
    """One image's part of the outputs, which may lack the batch axis for a single image.

    Boxes have two axes of their own; if any output has one more, the batch axis comes first in all that have it. If
    scores and labels have one axis, there is no batch axis: the masks of a single box only look like a batch.
    """
    lists = sum(output.ndim == 1 for output in outputs.values())
    if lists < 2 and any(output.ndim > 2 and len(output) == count for output in outputs.values()):
        return {
            name: output[index] if output.ndim and len(output) == count else output for name, output in outputs.items()
        }
    if count > 1:
        raise UsageError(f"the model's outputs have no axis for {count} images: give batch = 1")
    return dict(outputs)


def _results(found: Boxes, image: Image, noise: BoxNoise) -> Iterator[dict[str, Any]]:
    """COCO results of an image; `found` has category ids as classes."""
    info = image.info
    offset = np.array([info["crop_x"] - image.left, info["crop_y"] - image.top] * 2, np.float64)
    corners = (found.corners + offset) / np.array([info["scale_x"], info["scale_y"]] * 2)
    boxes = np.concatenate([corners[:, :2], noise.sides(corners)], axis=1)
    # All digits of single precision, so that the order of scores is the model's.
    scores = map(float, map(str, found.scores))
    for box, score, category in zip(boxes.round(3).tolist(), scores, found.classes.tolist(), strict=True):
        yield {"image_id": info["image_id"], "category_id": category, "bbox": box, "score": score}
