"""FastestDet (github.com/dog-qiuqiu/FastestDet): one map, with objectness (sigmoid) and classes (softmax) decoded."""

from __future__ import annotations

import functools

import numpy as np

from pipelines.evaluate.model.heads.common import (
    Boxes,
    Classes,
    Fit,
    Floats,
    Given,
    Head,
    are_shares,
    cells,
    changed,
    cornered,
    probabilities,
    scores_note,
    spread,
)
from pipelines.evaluate.model.runtimes import Outputs

# Rounding takes a cell's classes no further from a sum of 1.
_SUM = 1e-2


def fit(outputs: Outputs, given: Given) -> Fit | None:
    """One output (5 + classes, rows, columns) with objectness from 0 to 1 and classes that sum to 1."""
    found = [name for name, output in outputs.items() if _is_map(output)]
    if len(found) != 1:
        return None
    count = len(outputs[found[0]]) - 5
    return Fit(functools.partial(_decode, given, found[0], count), Classes(count), scores_note(logits=False))


def _is_map(output: Floats) -> bool:
    if output.ndim != 3 or len(output) <= 5 or output.dtype != np.float32 or not output.size:
        return False
    probable = are_shares(output[0]) and are_shares(output[5:])
    return probable and bool(np.abs(output[5:].sum(axis=0) - 1).max() < _SUM)


def _decode(given: Given, name: str, count: int, outputs: Outputs, least: float) -> Boxes:
    """Objectness, centre, sides, classes, as `handle_preds` in utils/tool.py and example/ncnn/FastestDet.cpp."""
    if outputs[name].ndim != 3 or len(outputs[name]) != 5 + count:
        raise changed("fastestdet", outputs)
    _, rows, columns = outputs[name].shape
    raw = outputs[name].reshape(5 + count, -1).T
    frame = np.array([given.width, given.height], np.float32)
    grid = np.array([columns, rows], np.float32)
    centre: Floats = np.divide(np.tanh(raw[:, 1:3]) + cells(columns, rows), grid)
    corners = cornered(centre * frame, probabilities(raw[:, 3:5], logits=True) * frame)
    objectness, classes = raw[:, :1].clip(0, 1), raw[:, 5:].clip(0, 1)
    scores: Floats = np.power(objectness, np.float32(0.6)) * np.power(classes, np.float32(0.4))
    return spread(corners, scores, least, one_class=True)


HEAD = Head(
    "a map (5 + classes, rows, columns): objectness, centre, sides, classes that sum to 1",
    fit,
    # `compute_map` in utils/evaluation.py, and `nms_thresh` of `handle_preds`
    score_threshold=0.001,
    nms_iou=0.45,
)
