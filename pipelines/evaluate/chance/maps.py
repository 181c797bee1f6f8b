"""Doubts about label maps that are right no more often than guesses: label ids for train ids, another order, or maps of
other images.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipelines.evaluate.chance.bounds import is_low
from pipelines.evaluate.chance.given import Given
from pipelines.generate.sources.cityscapes import LABEL_IDS

Confusion = NDArray[np.int64]

# Below this Cohen's kappa (Educational and Psychological Measurement 20, 1960), maps agree hardly more than by chance;
# working models have 0.7 and more.
_NEAR = 0.1
# Another reading must have this share of the pixels more right, and at least this kappa.
_FAR, _AGREES = 0.2, 0.4
# Above this share of pixels, a model is taken to predict only one class.
_ALL_ONE = 0.9
_WANTED = "classes must be Cityscapes' 19 train ids, 0 (road) to 18 (bicycle)"


class _Reading(NamedTuple):
    """The class of each number, -1 for none, and what that reading is, in words."""

    classes: NDArray[np.int64]
    what: str

    def read(self, confusion: Confusion) -> Confusion:
        """The pixels by true class and read class; numbers without a class count as wrong."""
        found = np.zeros((*confusion.shape[:-1], confusion.shape[-1] + 1), np.int64)
        for number, place in enumerate(self.classes):
            found[..., place] += confusion[..., number]
        return found


def doubt(confusion: Confusion, given: Given) -> str:
    """Why mIoU is doubtful; `confusion` counts the pixels of each image by true and predicted class."""
    pooled = confusion.sum(axis=0)
    if _kappa(pooled) >= 2 * _NEAR:
        return ""
    if found := _explained(confusion, given):
        return f"{_fact(pooled)}; {found}"
    above = sum(_kappa(image) > _NEAR for image in confusion)  # more than half if the model works
    if _kappa(pooled) > _NEAR or not is_low(above, len(confusion), 0.5):
        return ""
    return f"{_fact(pooled)}. {_causes(pooled, given)}"


def _right(confusion: Confusion) -> float:
    """The share of pixels that are right."""
    return float(np.trace(confusion) / max(1, confusion.sum()))


def _kappa(confusion: Confusion) -> float:
    """Cohen's kappa: how much more than by chance maps agree, as a share of how much they could."""
    total = max(1, confusion.sum())
    true, predicted = confusion.sum(axis=1), confusion.sum(axis=0)[: len(confusion)]
    chance = float(true @ predicted / total**2)
    return (_right(confusion) - chance) / (1 - chance) if chance < 1 else 1.0


def _fact(pooled: Confusion) -> str:
    return (
        f"The reference is at chance level: {_right(pooled):.1%} of the pixels are right (Cohen's kappa "
        f"{_kappa(pooled):.2f})".replace("-", "−")
    )


def _readings(count: int) -> Iterator[_Reading]:
    numbers = np.arange(count)
    trained = np.full(count, -1)
    for place, label in enumerate(LABEL_IDS):
        if label < count:
            trained[label] = place
    yield _Reading(trained, "label ids")
    yield _Reading(numbers - 1, "train ids counted from 1 (is 0 the background?)")
    yield _Reading(np.append(numbers[1:], -1), "train ids that are 1 too low")


def _explained(confusion: Confusion, given: Given) -> str:
    """The doubt if classes are numbered in another known way."""
    right, do = _right(confusion.sum(axis=0)), given.with_flags(_WANTED, ["class-labels"])
    best, found = right + _FAR, ""
    for reading in _readings(confusion.shape[-1]):
        read = reading.read(confusion)
        pooled = read.sum(axis=0)
        if _right(pooled) > best and _kappa(pooled) > _AGREES:
            best = _right(pooled)
            found = f"but {best:.1%} are right if the maps are read as {reading.what}: {do}"
    return found


def _causes(pooled: Confusion, given: Given) -> str:
    """What may be wrong, as far as the maps show."""
    shares = pooled.sum(axis=0) / max(1, pooled.sum())
    if shares.max() > _ALL_ONE:
        return (
            f"{shares.max():.0%} of the pixels are class {shares.argmax()}; usual causes: {given.pixels()}, or a model "
            "without weights"
        )
    true, read = linear_sum_assignment(-pooled)
    order = np.full(len(pooled), -1)
    order[read] = true
    matched = _Reading(order, "").read(pooled)
    if _kappa(matched) > _AGREES:
        return (
            f"Maps have the right shapes under other numbers ({_right(matched):.0%} of the pixels are right if each "
            f"class is read as the one that it lies on): {given.with_flags(_WANTED, ['class-labels'])}"
        )
    others = "" if given.model else "maps of other images (names in another order), turned or wrongly resized maps, "
    return f"Maps are unrelated to the ground truth; usual causes: {others}{given.pixels()}, or a model without weights"
