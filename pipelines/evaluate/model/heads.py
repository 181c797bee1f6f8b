"""The heads of two families of detectors: raw outputs as boxes in input pixels.

Decodes what YOLOX (github.com/Megvii-BaseDetection/YOLOX) and NanoDet (github.com/RangiLyu/nanodet) put out for
COCO's 80 classes, with the thresholds of their own evaluations. Scores may be logits or probabilities, as exports
differ: they are logits where any of the first image's lies outside 0 to 1. Refuses outputs of other shapes, and boxes
that are decoded.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UsageError

Floats = NDArray[np.float32]

# COCO's ids of its 80 classes, in order: 1 to 90 without those that were given up.
CATEGORIES = tuple(sorted(set(range(1, 91)) - {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}))
STRIDES = (8, 16, 32)
# NanoDet's distances are 0 to 7 strides (`reg_max`).
BINS = 8
# YOLOX puts sides out as logarithms of strides: e to the 12th of them is wider than any image.
_LARGEST_LOGARITHM = 12.0


class Boxes(NamedTuple):
    """Boxes in input pixels, x1, y1, x2, y2: shape (n, 4); scores (n, 80) from 0 to 1, `logits` before."""

    corners: Floats
    scores: Floats
    logits: bool


class Level(NamedTuple):
    """The cells of one stride, row by row: x and y in cells, shape (n, 2)."""

    stride: int
    cells: Floats


# How many columns and rows a grid may have more than the whole strides in the input: pooling in ceil mode adds one.
_MORE = ((0, 0), (1, 1), (1, 0), (0, 1))


@functools.lru_cache(maxsize=32)
def level(width: int, height: int, stride: int, more: tuple[int, int] = (0, 0)) -> Level:
    """The cells of a stride for an input of these pixels, not to be changed."""
    y, x = np.mgrid[: height // stride + more[1], : width // stride + more[0]]
    return Level(stride, np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float32))


def yolox(outputs: Sequence[Floats], width: int, height: int, logits: bool | None = None, least: float = -1.0) -> Boxes:
    """One output (cells of all strides, 85): centre and side of a box, objectness, classes.

    Source: `YOLOXHead.decode_outputs` in yolox/models/yolo_head.py.
    """
    for more in _MORE:
        grid = [level(width, height, stride, more) for stride in STRIDES]
        raw = _shaped(outputs, sum(len(one.cells) for one in grid), 5 + len(CATEGORIES))
        if raw is not None:
            break
    else:
        raise _unfit("yolox", outputs, width, height)
    if raw[:, 2:4].max() > _LARGEST_LOGARITHM:
        raise UsageError("the model's boxes are decoded already: export it without (decode_in_inference = False)")
    logits = _are_logits(raw[:, 4:]) if logits is None else logits
    likely = _probabilities(raw[:, 4], logits) > least  # of which no class has more
    raw = raw[likely]
    cells = np.concatenate([one.cells for one in grid])[likely]
    strides = np.concatenate([np.full((len(one.cells), 1), one.stride, np.float32) for one in grid])[likely]
    centre, half = (raw[:, :2] + cells) * strides, np.exp(raw[:, 2:4]) * strides / 2
    scores = _probabilities(raw[:, 4:], logits)
    return Boxes(np.concatenate([centre - half, centre + half], axis=1), scores[:, :1] * scores[:, 1:], logits)


def nanodet(
    outputs: Sequence[Floats], width: int, height: int, logits: bool | None = None, least: float = -1.0
) -> Boxes:
    """Two outputs for each stride, in any order: classes (cells, 80), and (cells, 32) bins of four distances.

    Source: `get_bboxes_single` and `Integral` in nanodet/model/head/gfl_head.py.
    """
    grid, classes, bins = list[Level](), list[Floats](), list[Floats]()
    for stride, more in itertools.product(STRIDES, _MORE):
        one = level(width, height, stride, more)
        its_classes = _shaped(outputs, len(one.cells), len(CATEGORIES))
        its_bins = _shaped(outputs, len(one.cells), 4 * BINS)
        if its_classes is not None and its_bins is not None and stride not in (other.stride for other in grid):
            grid.append(one)
            classes.append(its_classes)
            bins.append(its_bins)
    if len(grid) < len(STRIDES):
        raise _unfit("nanodet", outputs, width, height)
    raw = np.concatenate(classes)
    logits = _are_logits(raw) if logits is None else logits
    scores = _probabilities(raw, logits)
    likely = scores.max(axis=1) > least
    far = np.concatenate(bins)[likely].reshape(-1, 4, BINS)
    cells = np.concatenate([one.cells for one in grid])[likely]
    strides = np.concatenate([np.full((len(one.cells), 1), one.stride, np.float32) for one in grid])[likely]
    weights = np.exp(far - far.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    distances = weights @ np.arange(BINS, dtype=np.float32) * strides
    centre = (cells + 0.5) * strides
    corners = np.concatenate([centre - distances[:, :2], centre + distances[:, 2:]], axis=1)
    return Boxes(corners, scores[likely], logits)


def _shaped(outputs: Sequence[Floats], cells: int, values: int) -> Floats | None:
    return next((output for output in outputs if output.shape == (cells, values)), None)


def _unfit(head: str, outputs: Sequence[Floats], width: int, height: int) -> UsageError:
    shapes = ", ".join("x".join(map(str, output.shape)) for output in outputs)
    return UsageError(
        f"the model's outputs for one image of {width}x{height} ({shapes}) are not those of the head {head} with "
        f"{len(CATEGORIES)} classes at strides 8, 16 and 32: predict with it yourself and give --predictions"
    )


# Rounding takes probabilities no farther beyond 0 and 1.
_TOLERANCE = 1e-3


def _are_logits(scores: Floats) -> bool:
    """Whether any score is outside of 0 to 1."""
    return bool(scores.min() < -_TOLERANCE or scores.max() > 1 + _TOLERANCE)


def _probabilities(scores: Floats, logits: bool) -> Floats:
    """Scores from 0 to 1, by the sigmoid where they are logits."""
    if not logits:
        return scores.clip(0, 1)
    return np.asarray(0.5 * (1 + np.tanh(scores / 2)), np.float32)  # the sigmoid, which cannot overflow so


@dataclass(frozen=True)
class Head:
    """How outputs become boxes, and how its own evaluation chooses among them.

    `decode` takes the outputs for one image, the input's width and height, whether scores are logits, and a score:
    boxes that have no more in any class may be left out. `clips`: boxes end at the input's edges. `one_class`: a box
    counts for its best class alone.
    """

    decode: Callable[[Sequence[Floats], int, int, bool | None, float], Boxes]
    score_threshold: float
    nms_iou: float
    clips: bool
    one_class: bool


HEADS: Mapping[str, Head] = MappingProxyType(
    {
        # `test_conf` and `nmsthre` in yolox/exp/yolox_base.py; `postprocess` in yolox/utils/boxes.py
        "yolox": Head(yolox, 0.01, 0.65, clips=False, one_class=True),
        # `multiclass_nms`, and `distance2bbox` with `max_shape`, in nanodet/model/head/gfl_head.py
        "nanodet": Head(nanodet, 0.05, 0.6, clips=True, one_class=False),
    }
)
