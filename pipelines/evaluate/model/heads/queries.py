"""The outputs of DETR and its relatives, a box and logits for each query, recognised by shape, values and name."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipelines.evaluate.model.heads.common import Floats, Given, are_shares, cornered, tables, the_one
from pipelines.evaluate.model.runtimes import Outputs

# Centre and sides as shares of the input.
WANTED = "boxes (queries, 4), centre and sides from 0 to 1"


class Queries(NamedTuple):
    """The names of the outputs with logits (queries, n) and boxes (queries, 4)."""

    logits: str
    boxes: str


def queries(outputs: Outputs) -> Queries | None:
    """The outputs' names, or None if they are ambiguous; there may be others, such as hidden states."""
    boxes = the_one([name for name in tables(outputs, 4) if len(outputs[name]) and are_shares(outputs[name])], "box")
    if boxes is None:
        return None
    others = [name for name in tables(outputs) if name != boxes and len(outputs[name]) == len(outputs[boxes])]
    logits = the_one(others, "logits", "scores")
    return None if logits is None else Queries(logits, boxes)


def are_such(outputs: Outputs, names: Queries, count: int) -> bool:
    """Whether these outputs still have the shapes of queries with `count` logits."""
    logits, boxes = (outputs[name] for name in names)
    return logits.ndim == 2 and logits.shape[1] == count and boxes.shape == (len(logits), 4)


def corners(boxes: Floats, given: Given) -> Floats:
    """Corners in input pixels, shape (queries, 4)."""
    pixels = boxes * np.array([given.width, given.height] * 2, np.float32)
    return cornered(pixels[:, :2], pixels[:, 2:])
