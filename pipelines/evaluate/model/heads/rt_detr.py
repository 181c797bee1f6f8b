"""RT-DETR (github.com/lyuwenyu/RT-DETR) and others with a sigmoid for each class: Deformable DETR, DINO.

Ultralytics' export has boxes and scores in one output, (queries, 4 + classes), which could also be YOLO's: it is read
only if this head is stated. Exports with the `PostProcessor` take the source's size as a second input and are refused.
"""

from __future__ import annotations

from pipelines.evaluate.model.heads.categories import IDS
from pipelines.evaluate.model.heads.common import (
    Boxes,
    Classes,
    Fit,
    Floats,
    Given,
    Head,
    are_shares,
    changed,
    probabilities,
    scores_note,
    spread,
    tables,
)
from pipelines.evaluate.model.heads.queries import WANTED, Queries, are_such, corners, queries
from pipelines.evaluate.model.runtimes import Outputs


def fit(outputs: Outputs, given: Given) -> Fit | None:
    """Logits (queries, classes) and boxes (queries, 4) from 0 to 1."""
    names = queries(outputs)
    if names is not None:
        return _fit(outputs, given, names)
    joined = [name for name in tables(outputs) if _is_joined(outputs[name])]
    return _fit(_split(outputs, joined[0]), given, _PARTS, joined[0]) if len(joined) == 1 else None


def _is_joined(table: Floats) -> bool:
    queries, count = table.shape
    return 4 < count <= queries and are_shares(table)


_PARTS = Queries("scores", "boxes")


def _split(outputs: Outputs, joined: str | None) -> Outputs:
    """The outputs; a joined one is split into boxes and scores."""
    if joined is None:
        return outputs
    return {_PARTS.boxes: outputs[joined][..., :4], _PARTS.logits: outputs[joined][..., 4:]}


def _fit(outputs: Outputs, given: Given, names: Queries, joined: str | None = None) -> Fit:
    count = outputs[names.logits].shape[1]
    logits = not are_shares(outputs[names.logits])

    def decode(outputs: Outputs, least: float) -> Boxes:
        return _decode(given, names, count, logits, _split(outputs, joined), least)

    return Fit(decode, Classes(count, ids=count == IDS), scores_note(logits), usual=joined is None)


def _decode(given: Given, names: Queries, count: int, logits: bool, outputs: Outputs, least: float) -> Boxes:
    """As `RTDETRPostProcessor` in rtdetr_pytorch/src/zoo/rtdetr/rtdetr_postprocessor.py: a query may have many classes.

    It keeps the best 300 over all queries and classes, of which COCO uses 100.
    """
    if not are_such(outputs, names, count):
        raise changed("rt_detr", outputs)
    return spread(corners(outputs[names.boxes], given), probabilities(outputs[names.logits], logits), least)


# Its evaluation takes the best, whatever their scores.
HEAD = Head(f"sigmoid logits (queries, classes), and {WANTED}", fit, score_threshold=0)
