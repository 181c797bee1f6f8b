"""Classes that are right as often as guesses are: another order of classes or labels, or predictions of something else.

Orders that are known are tried: the devkit's, and that of folders sorted as text. Of one that is not known it is seen
whether predictions go with labels at all.
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

# Ten times as often as guesses among ImageNet's classes are right: still nothing that a model would be used for.
_NEAR = 10 / CLASSES
# Another reading must be right so often, and so many times as often.
_FAR, _TIMES = 0.05, 5
# A known order explains so much of what any order would: else it has one class right by accident.
_MOST_OF_IT = 0.5
# Above this share of predictions one class is all that a model says.
_ALL_ONE = 0.5
# A model that names so many classes, as a share of those of the labels, does not lack most of these.
_AS_MANY = 0.8
_SORTED = "ImageNet's labels are the places of synsets in their sorted list, from 0"


class _Order(NamedTuple):
    """A way to number classes: what it is called, and the label of each number, -1 where it has none."""

    name: str
    labels: Classes

    def read(self, numbers: Classes) -> Classes:
        """The labels of these numbers."""
        labels: Classes = self.labels[np.minimum(numbers, len(self.labels) - 1)]
        return labels


def doubt(predicted: Classes, labels: Classes, given: Given) -> str:
    """Why top-1 cannot be believed; `predicted` and `labels` are int64 of shape (images,), labels 0 to 999."""
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
    """Whether no more are right than one class that has the right number by accident would be."""
    one = min(_FAR, 1 / max(1, len(np.unique(labels))))
    return hits <= _NEAR * len(labels) or not is_above(hits, len(labels), max(chance, one))


def _hits(predicted: Classes, labels: Classes) -> int:
    return int(np.count_nonzero(predicted == labels))


def _chance(predicted: Classes, labels: Classes) -> float:
    """The share that is right where predictions are dealt out to images by lot, or drawn from all classes that occur.

    The smaller of the two: where one class is all there is, the first is what the model has right of it.
    """
    if not len(labels):
        return 0.0
    said, true = (np.bincount(numbers[numbers >= 0], minlength=CLASSES + 1) for numbers in (predicted, labels))
    by_lot = float(said @ true) / len(labels) ** 2
    return min(by_lot, 1 / max(1, int(np.count_nonzero(said + true))))


def _able(predicted: Classes, labels: Classes, given: Given) -> NDArray[np.bool_]:
    """The images that the model could have right, as it has their classes.

    Where that is not known, classes that it never names count as those that it lacks, unless it names as many as there
    are, or hardly any but one.
    """
    if given.classes is not None:
        return np.isin(labels, list(given.classes))
    named = np.unique(predicted)
    if _most(predicted)[1] > _ALL_ONE or len(named) >= _AS_MANY * len(np.unique(labels)):
        return np.ones(len(labels), bool)
    return np.isin(labels, named)


def _most(predicted: Classes) -> tuple[int, float]:
    """The class that is predicted most, and its share."""
    counts = np.bincount(predicted)
    return int(counts.argmax()), float(counts.max() / len(predicted))


def _fact(hits: int, count: int, chance: float) -> str:
    guessing = max(chance, 1 / CLASSES)
    return (
        f"The reference is at chance level: {hits:,} of {count:,} images are right ({hits / count:.1%}), and guessing "
        f"has {guessing:.1%} right"
    )


def _orders() -> Iterator[_Order]:
    by_id = np.array(labels_by_id(), np.int64)
    yield _Order("the devkit's ILSVRC2012_IDs, from 1", np.concatenate([[-1], by_id, [-1]]))
    yield _Order("the devkit's ILSVRC2012_IDs, less 1", np.append(by_id, -1))
    as_text = sorted(range(CLASSES), key=str)
    yield _Order("places among the folders 0 to 999 sorted as text (0, 1, 10, 100)", np.append(as_text, -1))


def _explained(predicted: Classes, labels: Classes, given: Given) -> str:
    """The doubt where the numbers are another known order's: of the predictions, or of the labels."""
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
        do = "number the predicted classes anew"
    return f"but {share:.1%} are where the predicted classes are read as {order}: {_SORTED}; {do}"


def _of_labels(order: str, share: float, given: Given) -> str:
    return (
        f"but {share:.1%} are where the shards' labels are read as {order}: {_SORTED}; generate the shards again, with "
        "synsets in the list of labels"
    )


def _causes(predicted: Classes, labels: Classes, given: Given) -> str:
    """What may be wrong, where predictions do not go with the labels."""
    most, share = _most(predicted)
    if share > _ALL_ONE:
        return (
            f"{share:.0%} of the predictions are class {most}; usual causes: {given.pixels()}, or a model without "
            "weights"
        )
    others = "" if given.model else "predictions of other images (keys in another order than the images were read in), "
    return (
        f"Predictions have nothing to do with the labels; usual causes: {others}labels of another list, "
        f"{given.pixels()}, or a model without weights"
    )


def _by_other_numbers(followed: float, given: Given) -> str:
    order = given.with_flags("the model's classes", ["class-labels"])
    return (
        f"Predictions go with the labels, but by other numbers ({followed:.0%} are right where each class is read as "
        f"the label that it mostly goes with): the labels that the shards were made with, or {order}, are in another "
        f"order; {_SORTED}"
    )


def _followed(predicted: Classes, labels: Classes) -> float:
    """The share of every other image that is right where each class is read as the label that it mostly goes with in
    the rest; 0 where that is no more than a guess at the commonest label, or most classes are never named.
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
