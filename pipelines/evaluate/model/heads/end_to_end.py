"""Boxes that the graph itself has selected, in one output: YOLOv10, YOLO26 and Ultralytics' `nms=True`, or YOLOv7's.

Rows are x1, y1, x2, y2, score, class (`postprocess` of `v10Detect` in ultralytics/nn/modules/head.py), or, with seven
columns, image, x1, y1, x2, y2, class, score (`ONNX_ORT` in yolov7's models/experimental.py). Other orders are refused.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from pipelines.errors import UsageError
from pipelines.evaluate.model.heads.common import (
    Boxes,
    Classes,
    Fit,
    Floats,
    Given,
    Head,
    are_shares,
    changed,
    tables,
    unit_of,
)
from pipelines.evaluate.model.runtimes import Outputs


class _Columns(NamedTuple):
    """The columns of the first corner's x, the score, the class and the image's index in the batch."""

    corners: int
    score: int
    label: int
    image: int | None = None


_ORDERS: Mapping[int, _Columns] = MappingProxyType({6: _Columns(0, 4, 5), 7: _Columns(1, 6, 5, image=0)})


def fit(outputs: Outputs, given: Given) -> Fit | None:
    """One output (boxes, 6) or (boxes, 7) with integer classes and scores from 0 to 1."""
    found = [name for width in _ORDERS for name in tables(outputs, width) if _is_chosen(outputs[name])]
    if len(found) != 1:
        return None
    order = _ORDERS[outputs[found[0]].shape[1]]
    unit = unit_of(_corners(outputs[found[0]], order), given)
    decode = functools.partial(_decode, found[0], order, unit.factors)
    return Fit(decode, Classes(None), unit.note, unit.doubt)


def _corners(raw: Floats, order: _Columns) -> Floats:
    return raw[:, order.corners : order.corners + 4]


def _is_chosen(raw: Floats) -> bool:
    order = _ORDERS[raw.shape[1]]
    corners = _corners(raw, order)
    right_way = bool((corners[:, 2:] >= corners[:, :2]).all())
    return right_way and are_shares(raw[:, order.score]) and _are_whole(raw[:, order.label])


def _are_whole(values: Floats) -> bool:
    return bool((values == np.rint(values)).all() and (values >= 0).all())


def _decode(name: str, order: _Columns, factors: Floats, outputs: Outputs, least: float) -> Boxes:
    raw = outputs[name]
    if raw.ndim != 2 or _ORDERS.get(raw.shape[1]) != order:
        raise changed("end_to_end", outputs)
    if order.image is not None and raw[:, order.image].any():
        raise UsageError("the model puts boxes of several images into one output: give batch = 1")
    raw = raw[raw[:, order.score] > least]
    labels = raw[:, order.label]
    if not _are_whole(labels):
        raise UsageError(f"the model's classes (column {order.label + 1} of {name}) are not whole numbers")
    return Boxes(_corners(raw, order) * factors, raw[:, order.score].clip(0, 1), labels.astype(np.int64))


HEAD = Head(
    "(boxes, 6): corners, score, class; or YOLOv7's (boxes, 7): image, corners, class, score",
    fit,
    # as yolov8's
    score_threshold=0.001,
)
