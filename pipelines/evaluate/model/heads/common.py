"""Shared by all heads: boxes, what is known before the first output, and how a head's reading of outputs is decided.

A head looks at the outputs for the first image and decides how to read all of them (`Fit`), so that a single stray
score or box is not read in another way than the rest.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.evaluate.model.runtimes import Outputs

Floats = NDArray[np.float32]


class Boxes(NamedTuple):
    """Boxes: x1, y1, x2, y2 in input pixels (n, 4), scores from 0 to 1 (n,), classes by the model's numbers (n,)."""

    corners: Floats
    scores: Floats
    classes: NDArray[np.int64]


class Given(NamedTuple):
    """What is known before the first output: the input's size in pixels, and the preprocessing's keys for outputs."""

    width: int
    height: int
    boxes: str | None = None
    labels: Sequence[int] | None = None
    class_offset: int = 0


class Classes(NamedTuple):
    """How a model numbers classes: `total` is None if it only names them; `ids` is true if they are COCO's ids."""

    total: int | None
    ids: bool = False


class Fit(NamedTuple):
    """How a head reads a model's outputs.

    `decode` takes those for one image and a score that boxes must exceed, and raises UsageError for outputs of another
    shape. `doubt` is what must be stated before anything can be read, and `usual` whether exports usually look like
    this.
    """

    decode: Callable[[Outputs, float], Boxes]
    classes: Classes
    note: str = ""
    doubt: str = ""
    usual: bool = True


@dataclass(frozen=True)
class Head:
    """How outputs become boxes, and how the model's own evaluation selects among them.

    `wants` describes the outputs that it reads; `fit` takes the outputs for one image (without the batch axis) and
    returns None if it cannot read them. `nms_iou` is None if boxes are not suppressed here; `clips` says whether they
    are clipped to the input.
    """

    wants: str
    fit: Callable[[Outputs, Given], Fit | None]
    score_threshold: float
    nms_iou: float | None = None
    clips: bool = False


def spread(corners: Floats, scores: Floats, least: float, one_class: bool = False) -> Boxes:
    """Boxes (n, 4) with scores (n, classes), once for each class above `least`, or only for their best class."""
    likely = scores > least
    if one_class:
        likely &= np.arange(scores.shape[1]) == scores.argmax(axis=1, keepdims=True)
    rows, classes = np.nonzero(likely)
    return Boxes(corners[rows], scores[rows, classes], classes)


def cornered(centre: Floats, sides: Floats) -> Floats:
    """Corners (n, 4) of boxes, from their centres (n, 2) and their width and height (n, 2)."""
    half = sides / np.float32(2)
    return np.concatenate([centre - half, centre + half], axis=1)


# Rounding takes probabilities no further outside 0 to 1.
_TOLERANCE = 1e-3


def are_shares(values: Floats) -> bool:
    """Whether all values are from 0 to 1."""
    return bool(values.min(initial=0) >= -_TOLERANCE and values.max(initial=0) <= 1 + _TOLERANCE)


def probabilities(scores: Floats, logits: bool) -> Floats:
    """Scores from 0 to 1; the sigmoid of logits."""
    if not logits:
        return scores.clip(0, 1)
    small = np.exp(-np.abs(scores))  # cannot overflow, and keeps the order of the smallest
    return np.asarray(np.where(scores < 0, small, 1) / (1 + small), np.float32)


def scores_note(logits: bool, function: str = "sigmoid") -> str:
    """A line on how scores are read."""
    read_as = f"logits, and their {function} is taken" if logits else "probabilities"
    return f"the model's scores are read as {read_as}"


class Level(NamedTuple):
    """The cells of one stride, row by row: x and y in cells, shape (n, 2)."""

    stride: int
    cells: Floats


STRIDES = (8, 16, 32)
# The extra columns and rows that a grid may have over the whole strides in the input: pooling in ceil mode adds one.
MORE = ((0, 0), (1, 1), (1, 0), (0, 1))


@functools.lru_cache(maxsize=32)
def level(width: int, height: int, stride: int, more: tuple[int, int] = (0, 0)) -> Level:
    """The cells of a stride for an input of this size; shared, so they must not be changed."""
    return Level(stride, cells(width // stride + more[0], height // stride + more[1]))


def cells(columns: int, rows: int) -> Floats:
    """x and y of the cells of a grid, row by row, shape (columns * rows, 2)."""
    y, x = np.mgrid[:rows, :columns]
    return np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float32)


def joined(grid: Iterable[Level]) -> tuple[Floats, Floats]:
    """The cells of all levels, shape (n, 2), and the stride of each, shape (n, 1)."""
    levels = list(grid)
    strides = [np.full((len(one.cells), 1), one.stride, np.float32) for one in levels]
    return np.concatenate([one.cells for one in levels]), np.concatenate(strides)


# Boxes as shares reach at most half the input beyond it, and boxes in pixels are wider than this.
_SHARES = 1.5


class Unit(NamedTuple):
    """The factors that turn x, y, x, y into input pixels, and the note and doubt for `Fit`."""

    factors: Floats
    note: str
    doubt: str


def unit_of(coordinates: Floats, given: Given) -> Unit:
    """Whether coordinates are pixels or shares of the input: as stated, or else judged by their size."""
    farthest = float(np.abs(coordinates).max(initial=0))
    shares = given.boxes == "shares" if given.boxes else farthest <= _SHARES
    factors = np.array([given.width, given.height] * 2 if shares else [1] * 4, np.float32)
    doubt = 'no box of the first image shows if boxes are in pixels or shares: give boxes = "pixels" or "shares"'
    note = f"the model's boxes are read as {'shares of the input' if shares else 'input pixels'}"
    return Unit(factors, note, "" if given.boxes or farthest else doubt)


def tables(outputs: Outputs, columns: int | None = None) -> list[str]:
    """The names of the float outputs with two axes, and with this number of columns if it is given."""
    return [
        name
        for name, output in outputs.items()
        if output.ndim == 2 and output.dtype == np.float32 and columns in (None, output.shape[1])
    ]


def the_one(names: Sequence[str], *words: str) -> str | None:
    """The only name, or the only one that contains one of the words; None if there is none, or several."""
    if len(names) != 1:
        names = [name for name in names if any(word in name.lower() for word in words)]
    return names[0] if len(names) == 1 else None


def shapes(outputs: Outputs) -> str:
    """The names, dtypes and shapes of outputs, for messages."""
    return ", ".join(f"{name} {out.dtype} {'x'.join(map(str, out.shape))}" for name, out in outputs.items())


def changed(head: str, outputs: Outputs) -> UsageError:
    """The error for outputs that no longer have the shapes for which the head was chosen."""
    return UsageError(f"the model's outputs for one image ({shapes(outputs)}) do not fit the head {head}")
