"""DETR (github.com/facebookresearch/detr) and others with a softmax whose last class is "no object".

With COCO's weights, classes are COCO's ids from 0 on.
"""

from __future__ import annotations

import functools

import numpy as np

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
    scores_note,
    spread,
)
from pipelines.evaluate.model.heads.queries import WANTED, Queries, are_such, corners, queries
from pipelines.evaluate.model.runtimes import Outputs

# Rounding takes a row of probabilities no further from a sum of 1.
_SUM = 1e-2


def fit(outputs: Outputs, given: Given) -> Fit | None:
    """Logits (queries, classes + 1) and boxes (queries, 4) from 0 to 1."""
    names = queries(outputs)
    if names is None or outputs[names.logits].shape[1] < 2:
        return None
    raw = outputs[names.logits]
    logits = not (are_shares(raw) and np.abs(raw.sum(axis=1) - 1).max() < _SUM)
    count = raw.shape[1]
    decode = functools.partial(_decode, given, names, count, logits)
    return Fit(decode, Classes(count - 1, ids=count - 1 == IDS), scores_note(logits, "softmax"))


def _decode(given: Given, names: Queries, count: int, logits: bool, outputs: Outputs, least: float) -> Boxes:
    """As `PostProcess` in models/detr.py, which gives each query its best class."""
    if not are_such(outputs, names, count):
        raise changed("detr", outputs)
    raw = outputs[names.logits]
    scores = _softmax(raw) if logits else raw.clip(0, 1)
    return spread(corners(outputs[names.boxes], given), scores[:, :-1], least, one_class=True)


def _softmax(logits: Floats) -> Floats:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


# Its evaluation takes every query (`PostProcess`).
HEAD = Head(f"softmax logits (queries, classes + 1), the last for no object, and {WANTED}", fit, score_threshold=0)
