"""YOLOv5 (github.com/ultralytics/yolov5) and YOLOv7 (github.com/WongKinYiu/yolov7, `export.py --grid`), decoded.

Also reads YOLOv6, and YOLOX with `decode_in_inference = True`. Refuses the raw maps of each stride, whose anchors are
not in the outputs.
"""

from __future__ import annotations

import functools

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
    """One output (boxes, 5 + classes) with sides of at least 0 and probabilities."""
    found = [name for name in tables(outputs) if _is_decoded(outputs[name])]
    if len(found) != 1:
        return None
    raw = outputs[found[0]]
    unit = unit_of(raw[:, :4], given)
    decode = functools.partial(_decode, found[0], raw.shape[1], unit.factors)
    return Fit(decode, Classes(raw.shape[1] - 5), unit.note, unit.doubt)


def _is_decoded(raw: Floats) -> bool:
    boxes, count = raw.shape  # any realistic input gives more boxes than classes
    return 5 < count <= boxes and raw[:, 2:4].min() >= 0 and are_shares(raw[:, 4:])


def _decode(name: str, columns: int, factors: Floats, outputs: Outputs, least: float) -> Boxes:
    """A box's centre and sides, objectness, classes, as `non_max_suppression` in yolov5's utils/general.py."""
    raw = outputs[name]
    if raw.ndim != 2 or raw.shape[1] != columns:
        raise changed("yolov5", outputs)
    raw = raw[raw[:, 4] > least]
    corners = cornered(raw[:, :2], raw[:, 2:4]) * factors
    return spread(corners, (raw[:, 4:5] * raw[:, 5:]).clip(0, 1), least)


HEAD = Head(
    "(boxes, 5 + classes), decoded: centre and sides, objectness, classes from 0 to 1 (YOLOv7: export.py --grid)",
    fit,
    # "Reproduce by python val.py --data coco.yaml --img 640 --conf 0.001 --iou 0.65" in yolov5's README, as in yolov7's
    score_threshold=0.001,
    nms_iou=0.65,
)
