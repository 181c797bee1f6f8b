"""Doubts about classes that are right no more often than guesses: a wrong order of classes or labels, or of images.

Known orders are tried: the devkit's, and that of folders sorted as text. For unknown orders, it is checked whether
predictions depend on labels at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluate.chance.bounds import is_above, is_far_above, is_low
from pipelines.evaluate.chance.given import Given
from pipelines.evaluate.class_tables import CLASSES
from pipelines.generate.sources.labels import labels_by_id

Classes = NDArray[np.int64]

# Ten times the share that guesses among ImageNet's classes have right: still useless for a model.
_NEAR = 10 / CLASSES
# Another reading must have at least this share right, and this many times as many.
_FAR, _TIMES = 0.05, 5
# A known order must explain at least this share of what the best order would: else one class is right by accident.
_MOST_OF_IT = 0.5
# Above this share of predictions, a model is taken to predict only one class.
_ALL_ONE = 0.5
# A model that names this share of the labels' classes is taken to have all of them.
_AS_MANY = 0.8
_SORTED = "ImageNet's labels are the indices of the sorted list of synsets, from 0"


class _Order(NamedTuple):
    """A way to number classes: its name, and the label of each number, -1 for none."""

    name: str
    labels: Classes

    def read(self, numbers: Classes) -> Classes:
        labels: Classes = self.labels[np.minimum(numbers, len(self.labels) - 1)]
        return labels


def doubt(predicted: Classes, labels: Classes, given: Given) -> str:
    """Why top-1 is doubtful; `predicted` and `labels` are int64 of shape (images,), labels 0 to 999."""
    if found := _explained(predicted, labels, given):
        return found
    able = _able(predicted, labels, given)
    predicted, labels = predicted[able], labels[able]
    hits, count, chance = _hits(predicted, labels), len(labels), _chance(predicted, labels)
    followed = _followed(predicted, labels) if _TIMES * hits < count else 0.0
    if followed * count > _TIMES * hits:
        return f"Only {hits / count:.1%} of the reference's images are right. {_by_other_numbers(followed, given)}"
    if not _is_near(hits, labels, chance) or not is_low(hits, count, chance):
        return ""
    return f"{_fact(hits, count, chance)}. {_causes(predicted, labels, given)}"


def _is_near(hits: int, labels: Classes, chance: float) -> bool:
    """Whether no more are right than if a single class had the right number by accident."""
    one = min(_FAR, 1 / max(1, len(np.unique(labels))))
    return hits <= _NEAR * len(labels) or not is_above(hits, len(labels), max(chance, one))


def _hits(predicted: Classes, labels: Classes) -> int:
    return int(np.count_nonzero(predicted == labels))


def _chance(predicted: Classes, labels: Classes) -> float:
    """The share that is right if predictions are shuffled among images, or drawn from all classes that occur.

    The smaller of the two: with a single class, the first is the model's own accuracy.
    """
    if not len(labels):
        return 0.0
    named, true = (np.bincount(numbers[numbers >= 0], minlength=CLASSES + 1) for numbers in (predicted, labels))
    shuffled = float(named @ true) / len(labels) ** 2
    return min(shuffled, 1 / max(1, int(np.count_nonzero(named + true))))


def _able(predicted: Classes, labels: Classes, given: Given) -> NDArray[np.bool_]:
    """The images whose classes the model has, so that it could be right.

    If its classes are unknown, it is taken to lack those that it never names, unless it names nearly all or little more
    than one.
    """
    if given.classes is not None:
        return np.isin(labels, list(given.classes))
    named = np.unique(predicted)
    if _most(predicted)[1] > _ALL_ONE or len(named) >= _AS_MANY * len(np.unique(labels)):
        return np.ones(len(labels), bool)
    return np.isin(labels, named)


def _most(predicted: Classes) -> tuple[int, float]:
    """The class that is predicted most often, and its share."""
    counts = np.bincount(predicted)
    return int(counts.argmax()), float(counts.max() / len(predicted))


def _fact(hits: int, count: int, chance: float) -> str:
    guessing = max(chance, 1 / CLASSES)
    return (
        f"The reference is at chance level: {hits:,} of {count:,} images are right ({hits / count:.1%}); guessing gets "
        f"{guessing:.1%} right"
    )


def _orders() -> Iterator[_Order]:
    by_id = np.array(labels_by_id(), np.int64)
    yield _Order("the devkit's ILSVRC2012_IDs, from 1", np.concatenate([[-1], by_id, [-1]]))
    yield _Order("the devkit's ILSVRC2012_IDs minus 1", np.append(by_id, -1))
    as_text = sorted(range(CLASSES), key=str)
    yield _Order("indices of the folders 0 to 999 sorted as text (0, 1, 10, 100)", np.append(as_text, -1))


def _explained(predicted: Classes, labels: Classes, given: Given) -> str:
    """The doubt if predictions or labels are numbered in another known order."""
    hits, count = _hits(predicted, labels), len(labels)
    any_order = _followed(predicted, labels) * count
    best, found = max(_TIMES * hits, _FAR * count, _MOST_OF_IT * any_order), ""
    for order in _orders():
        for read, true, explain in (
            (order.read(predicted), labels, _of_predictions),
            (predicted, order.read(labels), _of_labels),
        ):
            moved = _hits(read, true)
            if moved > best and is_far_above(moved, count, max(hits / count, _chance(read, true))):
                best, found = moved, explain(order.name, moved / count, given)
    chance = _chance(predicted, labels)
    if _is_near(hits, labels, chance):
        return f"{_fact(hits, count, chance)}; {found}" if found else ""
    return f"Only {hits / count:.1%} of the reference's images are right, {found}" if found else ""


def _of_predictions(order: str, share: float, given: Given) -> str:
    do = given.with_flags("the model's classes are in that order", ["class-labels"])
    if not given.model:
        do = "renumber the predicted classes"
    return f"but {share:.1%} are right if the predicted classes are read as {order}: {_SORTED}; {do}"


def _of_labels(order: str, share: float, given: Given) -> str:
    return (
        f"but {share:.1%} are right if the shards' labels are read as {order}: {_SORTED}; generate the shards again, "
        "with synsets in the list of labels"
    )


def _causes(predicted: Classes, labels: Classes, given: Given) -> str:
    """What may be wrong if predictions do not depend on the labels."""
    most, share = _most(predicted)
    if share > _ALL_ONE:
        return (
            f"{share:.0%} of the predictions are class {most}; usual causes: {given.pixels()}, or a model without "
            "weights"
        )
    others = "" if given.model else "predictions of other images (keys in another order than the images were read), "
    return (
        f"Predictions are unrelated to the labels; usual causes: {others}labels of another list, {given.pixels()}, or "
        "a model without weights"
    )


def _by_other_numbers(followed: float, given: Given) -> str:
    order = given.with_flags("the model's classes", ["class-labels"])
    return (
        f"Predictions match the labels, but under other numbers ({followed:.0%} are right if each class is read as the "
        f"label that it mostly goes with): the labels that the shards were made with, or {order}, are in another "
        f"order; {_SORTED}"
    )


def _followed(predicted: Classes, labels: Classes) -> float:
    """The share that is right, of every other image, if each class is read as the label that it mostly goes with in the
    rest; 0 if guessing the commonest label would do as well, or if many classes are never named.
    """
    if len(labels) < 2 or len(np.unique(predicted)) < _AS_MANY * len(np.unique(labels)):
        return 0.0
    learned, tried = slice(0, None, 2), slice(1, None, 2)
    together = np.zeros((CLASSES + 1, CLASSES + 1), np.int64)
    np.add.at(together, (predicted[learned], labels[learned]), 1)
    known = together.any(axis=1)
    read = np.where(known, together.argmax(axis=1), -1)[predicted[tried]]
    count, hits = len(labels[tried]), _hits(read, labels[tried])
    chance = max(_chance(read, labels[tried]), float(np.bincount(labels[tried]).max() / count))
    return hits / count if is_far_above(hits, count, chance) and hits >= _TIMES * _NEAR * count else 0.0
