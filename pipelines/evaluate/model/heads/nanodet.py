"""NanoDet (github.com/RangiLyu/nanodet), exported with two outputs for each stride, in any order.

Scores are logits or probabilities, depending on the export.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

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
    joined,
    level,
    probabilities,
    scores_note,
    spread,
    tables,
)
from pipelines.evaluate.model.runtimes import Outputs

# Distances are 0 to 7 strides (`reg_max`).
_BINS = 8


class _Stride(NamedTuple):
    grid: Level
    classes: Floats
    bins: Floats


def fit(outputs: Outputs, given: Given) -> Fit | None:
    """For each stride, classes (cells, classes) and the bins of four distances (cells, 32)."""
    widths = {outputs[name].shape[1] for name in tables(outputs)} - {4 * _BINS}
    fitting = [width for width in widths if len(list(_strides(outputs, given, width))) == len(STRIDES)]
    if len(fitting) != 1:
        return None
    count = fitting[0]
    logits = not are_shares(np.concatenate([one.classes for one in _strides(outputs, given, count)]))
    return Fit(functools.partial(_decode, given, count, logits), Classes(count), scores_note(logits))


def _strides(outputs: Outputs, given: Given, count: int) -> Iterator[_Stride]:
    """The outputs of each stride, for `count` classes."""
    for stride in STRIDES:
        for more in MORE:
            grid = level(given.width, given.height, stride, more)
            classes = _of_cells(outputs, len(grid.cells), count)
            bins = _of_cells(outputs, len(grid.cells), 4 * _BINS)
            if classes is not None and bins is not None:
                yield _Stride(grid, classes, bins)
                break


def _of_cells(outputs: Outputs, cells: int, columns: int) -> Floats | None:
    return next((outputs[name] for name in tables(outputs, columns) if len(outputs[name]) == cells), None)


def _decode(given: Given, count: int, logits: bool, outputs: Outputs, least: float) -> Boxes:
    """As `get_bboxes_single` and `Integral` in nanodet/model/head/gfl_head.py."""
    found = list(_strides(outputs, given, count))
    if len(found) < len(STRIDES):
        raise changed("nanodet", outputs)
    scores = probabilities(np.concatenate([one.classes for one in found]), logits)
    likely = scores.max(axis=1) > least
    far = np.concatenate([one.bins for one in found])[likely].reshape(-1, 4, _BINS)
    cells, strides = (one[likely] for one in joined(one.grid for one in found))
    weights = np.exp(far - far.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    distances = weights @ np.arange(_BINS, dtype=np.float32) * strides
    centre = (cells + 0.5) * strides
    corners = np.concatenate([centre - distances[:, :2], centre + distances[:, 2:]], axis=1)
    return spread(corners, scores[likely], least)


HEAD = Head(
    "for each of the strides 8, 16 and 32, classes (cells, classes) and bins of four distances (cells, 32)",
    fit,
    # `multiclass_nms`, and `distance2bbox` with `max_shape`, in nanodet/model/head/gfl_head.py
    score_threshold=0.05,
    nms_iou=0.6,
    clips=True,
)
