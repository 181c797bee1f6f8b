"""Encoders for the heads that predict on grids of cells, YOLOX and NanoDet, with known boxes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIDE = 64
CELLS = {8: 64, 16: 16, 32: 4}
# x1, y1, x2, y2 in input pixels; stride, class and score.
KNOWN = [
    ((9.5, 12.25, 40.0, 30.5), 8, 0, 0.9),
    ((2.0, 3.0, 60.0, 61.0), 32, 79, 0.6),
    ((30.0, 28.0, 62.0, 50.0), 16, 11, 0.75),
]


def logit(score: float) -> float:
    return float(np.log(score / (1 - score)))


def cell_of(box: tuple[float, ...], stride: int) -> tuple[int, int]:
    """The column and row of the cell that contains a box's centre."""
    return int((box[0] + box[2]) / 2 // stride), int((box[1] + box[3]) / 2 // stride)


def side_of(stride: int, more: int) -> int:
    """How many cells a row or column has; pooling in ceil mode makes one `more`."""
    return SIDE // stride + more


def yolox_output(logits: bool, more: int = 0) -> NDArray[np.float32]:
    """YOLOX's encoding: centre minus cell, logarithm of sides, both in strides."""
    out = np.zeros((sum(side_of(stride, more) ** 2 for stride in CELLS), 85))
    out[:, 4:] = -9.0 if logits else 0.0
    for box, stride, label, score in KNOWN:
        first = sum(side_of(other, more) ** 2 for other in CELLS if other < stride)
        column, row = cell_of(box, stride)
        cell = out[first + row * side_of(stride, more) + column]
        cell[0], cell[1] = (box[0] + box[2]) / 2 / stride - column, (box[1] + box[3]) / 2 / stride - row
        cell[2], cell[3] = np.log((box[2] - box[0]) / stride), np.log((box[3] - box[1]) / stride)
        objectness, own = (0.95, score / 0.95)
        cell[4], cell[5 + label] = (logit(objectness), logit(own)) if logits else (objectness, own)
    return out.astype(np.float32)


def nanodet_outputs(logits: bool, more: int = 0) -> list[NDArray[np.float32]]:
    """NanoDet's encoding: each distance from the cell's middle, in strides, split between the two bins around it."""
    found: list[NDArray[np.float32]] = []
    for stride in CELLS:
        count = side_of(stride, more) ** 2
        classes = np.full((count, 80), -9.0 if logits else 0.0)
        bins = np.full((count, 4, 8), -30.0)
        bins[..., 0] = 0.0
        for box, own, label, score in KNOWN:
            if own != stride:
                continue
            column, row = cell_of(box, stride)
            cell = row * side_of(stride, more) + column
            classes[cell, label] = logit(score) if logits else score
            x, y = (column + 0.5) * stride, (row + 0.5) * stride
            for side, distance in enumerate((x - box[0], y - box[1], box[2] - x, box[3] - y)):
                below, share = int(distance / stride), distance / stride % 1
                bins[cell, side] = -30.0
                bins[cell, side, below], bins[cell, side, below + 1] = np.log(1 - share + 1e-9), np.log(share + 1e-9)
        found += [bins.reshape(count, 32).astype(np.float32), classes.astype(np.float32)]
    return found


def overlap(one: NDArray[np.float64], other: NDArray[np.float64], offset: int = 0) -> float:
    """Intersection over union, with `offset` added to every side as in United-Perception."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = float(np.prod(np.clip(high - low + offset, 0, None)))
    areas = np.prod(one[2:] - one[:2] + offset) + np.prod(other[2:] - other[:2] + offset)
    return shared / (float(areas) - shared)
