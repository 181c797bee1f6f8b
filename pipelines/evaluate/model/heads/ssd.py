"""SSD and others of TensorFlow's Object Detection API: `detection_boxes`, `detection_scores`, `detection_classes`.

Labels are COCO's category ids, as with its weights for COCO, unless `labels` or `class_offset` say otherwise. Under
other names the outputs look like torchvision's, whose corners have another order: they are read only if this head is
stated.
"""

from __future__ import annotations

import functools

from pipelines.evaluate.model.heads.chosen import TENSORFLOW, Chosen, chosen, some
from pipelines.evaluate.model.heads.common import Boxes, Classes, Fit, Floats, Given, Head, unit_of
from pipelines.evaluate.model.runtimes import Outputs


def fit(outputs: Outputs, given: Given) -> Fit | None:
    """Boxes (n, 4): y1, x1, y2, x2, as shares of the input unless pixels are stated."""
    names = chosen(outputs)
    if names is None:
        return None
    unit = unit_of(outputs[names.boxes], given._replace(boxes=given.boxes or "shares"))
    decode = functools.partial(_decode, names, unit.factors)
    usual = outputs.keys() >= TENSORFLOW
    return Fit(decode, Classes(None, ids=True), unit.note, usual=usual)


def _decode(names: Chosen, factors: Floats, outputs: Outputs, least: float) -> Boxes:
    found = some("ssd", names, outputs, least)
    return found._replace(corners=found.corners[:, [1, 0, 3, 2]] * factors)


# Its graph applies its own thresholds (`batch_non_max_suppression`).
HEAD = Head("TensorFlow's detection_boxes (n, 4): y1, x1, y2, x2, detection_scores (n), detection_classes (n)", fit, 0)
