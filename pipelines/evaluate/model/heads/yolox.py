"""YOLOX (github.com/Megvii-BaseDetection/YOLOX), exported without decoding: `decode_in_inference = False`.

Scores are logits or probabilities, depending on the export.
"""

from __future__ import annotations

import functools

import numpy as np

from pipelines.evaluate.model.heads.common import (
    MORE,
    STRIDES,
    Boxes,
    Classes,
    Fit,
    Floats,
    Given,
    Head,
    Level,
    are_shares,
    changed,
    cornered,
    joined,
    level,
    probabilities,
    scores_note,
    spread,
    tables,
)
from pipelines.evaluate.model.runtimes import Outputs

# Sides are logarithms, in strides: exp(12) strides are wider than any image.
_LARGEST_LOGARITHM = 12.0


def fit(outputs: Outputs, given: Given) -> Fit | None:
    """One output (cells of all strides, 5 + classes), with sides as logarithms."""
    found = _cells(outputs, given)
    if found is None or found[0][:, 2:4].max() > _LARGEST_LOGARITHM:
        return None
    raw, _ = found
    logits = not are_shares(raw[:, 4:])
    decode = functools.partial(_decode, given, raw.shape[1], logits)
    return Fit(decode, Classes(raw.shape[1] - 5), scores_note(logits))


def _cells(outputs: Outputs, given: Given, columns: int | None = None) -> tuple[Floats, list[Level]] | None:
    for more in MORE:
        grid = [level(given.width, given.height, stride, more) for stride in STRIDES]
        count = sum(len(one.cells) for one in grid)
        for name in tables(outputs, columns):
            if len(outputs[name]) == count and outputs[name].shape[1] > 5:
                return outputs[name], grid
    return None


def _decode(given: Given, columns: int, logits: bool, outputs: Outputs, least: float) -> Boxes:
    """A box's centre and sides, objectness, classes, as `YOLOXHead.decode_outputs` in yolox/models/yolo_head.py."""
    found = _cells(outputs, given, columns)
    if found is None:
        raise changed("yolox", outputs)
    raw, grid = found
    likely = probabilities(raw[:, 4], logits) > least  # no class can score more than the objectness
    raw = raw[likely]
    cells, strides = (one[likely] for one in joined(grid))
    corners = cornered((raw[:, :2] + cells) * strides, np.exp(raw[:, 2:4]) * strides)
    scores = probabilities(raw[:, 4:], logits)
    return spread(corners, scores[:, :1] * scores[:, 1:], least, one_class=True)


HEAD = Head(
    "(cells, 5 + classes) of strides 8, 16 and 32: centre and logarithm of sides in cells, objectness, classes",
    fit,
    # `test_conf` and `nmsthre` in yolox/exp/yolox_base.py; `postprocess` in yolox/utils/boxes.py
    score_threshold=0.01,
    nms_iou=0.65,
)
