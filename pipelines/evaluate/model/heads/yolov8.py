"""YOLOv8, YOLO11 and others of Ultralytics (github.com/ultralytics/ultralytics), exported without `nms=True`.

Transposed, (boxes, 4 + classes), it looks like YOLOv5 with one class less: it is read only if this head is stated.
Refuses outputs that also have masks, key points or angles.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from pipelines.evaluate.model.heads.common import (
    Boxes,
    Classes,
    Fit,
    Floats,
    Given,
    Head,
    are_shares,
    changed,
    cornered,
    spread,
    tables,
    unit_of,
)
from pipelines.evaluate.model.runtimes import Outputs


def fit(outputs: Outputs, given: Given) -> Fit | None:
    """One output (4 + classes, boxes) with sides of at least 0 and probabilities; or transposed."""
    found = list(_readings(outputs))
    if len(found) != 1:
        return None
    ((name, turned),) = found
    columns = _columns(outputs[name], turned)
    unit = unit_of(columns[:4], given)
    decode = functools.partial(_decode, name, turned, len(columns), unit.factors)
    return Fit(decode, Classes(len(columns) - 4), unit.note, unit.doubt, usual=not turned)


def _readings(outputs: Outputs) -> Iterator[tuple[str, bool]]:
    """The outputs that can be read, and whether they are transposed."""
    for name in tables(outputs):
        yield from ((name, turned) for turned in (False, True) if _is_decoded(_columns(outputs[name], turned)))


def _columns(raw: Floats, turned: bool) -> Floats:
    return raw.T if turned else raw


def _is_decoded(columns: Floats) -> bool:
    count, boxes = columns.shape  # any realistic input gives more boxes than classes
    return 4 < count <= boxes and columns[2:4].min() >= 0 and are_shares(columns[4:])


def _decode(name: str, turned: bool, count: int, factors: Floats, outputs: Outputs, least: float) -> Boxes:
    """A box's centre and sides, classes, as `non_max_suppression` in ultralytics/utils/ops.py with `multi_label`."""
    if outputs[name].ndim != 2 or len(columns := _columns(outputs[name], turned)) != count:
        raise changed("yolov8", outputs)
    likely = columns[:, columns[4:].max(axis=0) > least].T
    corners = cornered(likely[:, :2], likely[:, 2:4]) * factors
    return spread(corners, likely[:, 4:].clip(0, 1), least)


HEAD = Head(
    "(4 + classes, boxes), decoded: centre and sides, classes from 0 to 1",
    fit,
    # `conf` of validation (ultralytics/engine/validator.py), and `iou` in ultralytics/cfg/default.yaml
    score_threshold=0.001,
    nms_iou=0.7,
)
