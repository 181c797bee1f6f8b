"""torchvision's detectors (torchvision/models/detection), and others that give boxes by corners, scores and labels.

Labels are COCO's category ids, as with torchvision's weights, unless `labels` or `class_offset` say otherwise.
"""

from __future__ import annotations

import functools

from pipelines.evaluate.model.heads.chosen import TENSORFLOW, Chosen, chosen, some
from pipelines.evaluate.model.heads.common import Boxes, Classes, Fit, Floats, Given, Head, unit_of
from pipelines.evaluate.model.runtimes import Outputs


def fit(outputs: Outputs, given: Given) -> Fit | None:
    """Boxes (n, 4): x1, y1, x2, y2; scores (n,) and labels (n,)."""
    names = chosen(outputs)
    if names is None:
        return None
    unit = unit_of(outputs[names.boxes], given)
    decode = functools.partial(_decode, names, unit.factors)
    usual = not outputs.keys() >= TENSORFLOW
    return Fit(decode, Classes(None, ids=True), unit.note, unit.doubt, usual)


def _decode(names: Chosen, factors: Floats, outputs: Outputs, least: float) -> Boxes:
    found = some("torchvision", names, outputs, least)
    return found._replace(corners=found.corners * factors)


# Its graph applies its own thresholds (`box_score_thresh`, `box_nms_thresh`).
HEAD = Head("boxes (n, 4): x1, y1, x2, y2, scores (n) and labels (n), which are integers or named labels", fit, 0)
