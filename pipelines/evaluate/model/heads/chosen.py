"""Boxes, scores and labels that the graph itself has selected, in three outputs recognised by dtype, shape and name."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.evaluate.model.heads.common import Boxes, changed, tables, the_one
from pipelines.evaluate.model.runtimes import Outputs

# TensorFlow's names (object_detection/core/standard_fields.py: DetectionResultFields).
TENSORFLOW = {"detection_boxes", "detection_scores", "detection_classes"}


class Chosen(NamedTuple):
    """The names of the outputs with boxes (n, 4), scores (n,) and labels (n,), and of one with n if there is one."""

    boxes: str
    scores: str
    labels: str
    length: str | None = None


def chosen(outputs: Outputs) -> Chosen | None:
    """The outputs' names, or None if they are ambiguous; there may be others, such as masks."""
    length = next((name for name, output in outputs.items() if output.size == 1 and "num" in name.lower()), None)
    if outputs.keys() >= TENSORFLOW:  # these models also have raw boxes and scores
        return Chosen("detection_boxes", "detection_scores", "detection_classes", length)
    boxes = the_one(tables(outputs, 4), "box")
    if boxes is None:
        return None
    lists = [name for name, out in outputs.items() if out.shape == (len(outputs[boxes]),) and name != length]
    floats = [name for name in lists if outputs[name].dtype == np.float32]
    labels = the_one([name for name in lists if name not in floats], "label", "class")
    labels = labels or the_one([name for name in floats if len(floats) > 1], "label", "class")
    scores = the_one([name for name in floats if name != labels], "score", "conf")
    return None if labels is None or scores is None else Chosen(boxes, scores, labels, length)


def some(head: str, names: Chosen, outputs: Outputs, least: float) -> Boxes:
    """The boxes with a score above `least`, with unchanged coordinates. Raises UsageError for other shapes."""
    boxes, scores, labels = (outputs[name] for name in names[:3])
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not scores.shape == labels.shape == boxes.shape[:1]:
        raise changed(head, outputs)
    likely = scores > least
    if names.length is not None:
        likely[int(outputs[names.length].item()) :] = False
    return Boxes(boxes[likely], scores[likely].clip(0, 1), _whole(names.labels, labels[likely]))


def _whole(name: str, labels: NDArray[np.generic]) -> NDArray[np.int64]:
    whole = labels.astype(np.int64)
    if (whole != labels).any():
        raise UsageError(f"the model's labels ({name}) are not whole numbers")
    return whole
