"""RT-DETR (github.com/lyuwenyu/RT-DETR), and others that score by a sigmoid for each class: Deformable DETR, DINO.

What is exported with its `PostProcessor` takes the source's size as a second input, and is refused for that.
"""

from __future__ import annotations

import functools

from pipelines.evaluate.model.heads.categories import IDS
from pipelines.evaluate.model.heads.common import (
    Boxes,
    Classes,
    Fit,
    Given,
    Head,
    are_shares,
    changed,
    probabilities,
    scores_note,
    spread,
)
from pipelines.evaluate.model.heads.queries import WANTED, Queries, are_such, corners, queries
from pipelines.evaluate.model.runtimes import Outputs


def fit(outputs: Outputs, given: Given) -> Fit | None:
    """Logits (queries, classes) and boxes (queries, 4) from 0 to 1."""
    names = queries(outputs)
    if names is None:
        return None
    count = outputs[names.logits].shape[1]
    logits = not are_shares(outputs[names.logits])
    decode = functools.partial(_decode, given, names, count, logits)
    return Fit(decode, Classes(count, ids=count == IDS), scores_note(logits))


def _decode(given: Given, names: Queries, count: int, logits: bool, outputs: Outputs, least: float) -> Boxes:
    """`RTDETRPostProcessor` in rtdetr_pytorch/src/zoo/rtdetr/rtdetr_postprocessor.py: a query may have many classes.

    It keeps the best 300 of all classes of all queries, of which COCO looks at 100.
    """
    if not are_such(outputs, names, count):
        raise changed("rt_detr", outputs)
    return spread(corners(outputs[names.boxes], given), probabilities(outputs[names.logits], logits), least)


# Its evaluation takes the best, whatever their scores.
HEAD = Head(f"logits (queries, classes) of a sigmoid, and {WANTED}", fit, score_threshold=0)
