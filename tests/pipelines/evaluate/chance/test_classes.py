"""Top-1 at chance level: its cause is found in predictions of all kinds, and poor models are not doubted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, settings
from hypothesis import given as drawn
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.evaluate.chance.classes import doubt
from pipelines.evaluate.chance.given import Given
from pipelines.generate.sources.labels import labels_by_id

BY_ID = np.array(labels_by_id())
ID = np.argsort(BY_ID)  # each label's ILSVRC2012_ID minus 1
AS_TEXT = np.array(sorted(range(1000), key=str))
SEEDS = st.integers(0, 2**32 - 1)


def model(labels: NDArray[np.int64], right: float, random: np.random.Generator) -> NDArray[np.int64]:
    """Predictions, a share of which are right."""
    return np.where(random.random(len(labels)) < right, labels, random.integers(0, 1000, len(labels)))


def drawn_labels(random: np.random.Generator, count: int, classes: int) -> NDArray[np.int64]:
    return random.choice(random.permutation(1000)[:classes], count)


@settings(max_examples=12)
@drawn(SEEDS, st.integers(1, 3000), st.sampled_from([2, 10, 100, 1000]), st.floats(0.35, 1))
def test_a_working_model_is_not_doubted(seed: int, count: int, classes: int, right: float) -> None:
    random = np.random.default_rng(seed)
    labels = drawn_labels(random, count, classes)
    assert doubt(model(labels, right, random), labels, Given()) == ""


@settings(max_examples=12)
@drawn(SEEDS, st.integers(1, 30))
def test_a_few_images_prove_nothing(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    labels = drawn_labels(random, count, 1000)
    assert doubt(random.integers(0, 1000, count), labels, Given()) == ""


@pytest.mark.parametrize("known", [True, False])
@settings(max_examples=12)
@drawn(seed=SEEDS, count=st.integers(1, 3000), has=st.integers(5, 20))
def test_a_model_that_lacks_most_classes_is_not_doubted(known: bool, seed: int, count: int, has: int) -> None:
    random = np.random.default_rng(seed)
    labels, classes = drawn_labels(random, count, 1000), random.permutation(1000)[:has]
    predicted = np.where(np.isin(labels, classes), model(labels, 0.9, random), random.choice(classes, count))
    predicted = np.where(np.isin(predicted, classes), predicted, classes[0])
    assert doubt(predicted, labels, Given(known, classes=frozenset(classes.tolist()) if known else None)) == ""


@pytest.mark.parametrize("with_model", [True, False])
@settings(max_examples=12)
@drawn(seed=SEEDS, count=st.integers(40, 2000), classes=st.sampled_from([50, 300, 1000]), right=st.floats(0.4, 1))
def test_another_known_order_is_named(with_model: bool, seed: int, count: int, classes: int, right: float) -> None:
    random = np.random.default_rng(seed)
    labels = drawn_labels(random, count, classes)
    predicted = model(labels, right, random)
    given = Given(with_model)
    for theirs, name in ((ID + 1, "IDs, from 1"), (ID, "IDs minus 1"), (np.argsort(AS_TEXT), "sorted as text")):
        found = doubt(theirs[predicted], labels, given)
        assert "the predicted classes are read as" in found
        assert name in found
        assert ("give --class-labels" in found) == with_model
        found = doubt(predicted, theirs[labels], given)
        assert "the shards' labels are read as" in found
        assert name in found


@settings(max_examples=12)
@drawn(SEEDS, st.integers(100, 3000), st.booleans())
def test_predictions_of_other_images_and_of_one_class_are_distinguished(seed: int, count: int, collapsed: bool) -> None:
    random = np.random.default_rng(seed)
    labels = drawn_labels(random, count, 1000)
    predicted = model(labels, 0.8, random)[random.permutation(count)]
    if collapsed:
        predicted[random.random(count) < 0.9] = 111
    found = doubt(predicted, labels, Given())
    assert found.startswith("The reference is at chance level")
    assert ("of the predictions are class 111" in found) == collapsed
    assert ("predictions of other images" in found) != collapsed


@settings(max_examples=12)
@example(3498359, 10)  # one class of ten has the right number among folders sorted as text
@drawn(SEEDS, st.sampled_from([10, 50]))
def test_an_unknown_order_is_recognised_by_its_consistency(seed: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    labels = drawn_labels(random, 2000, classes)
    found = doubt(random.permutation(1000)[model(labels, 0.7, random)], labels, Given())
    assert "Predictions match the labels, but under other numbers" in found


def test_given_options_are_not_advised_again() -> None:
    random = np.random.default_rng(1)
    labels = drawn_labels(random, 500, 1000)
    one = np.full(500, 7)
    found = doubt(one, labels, Given(True, frozenset({"mean", "std"}), classes=frozenset(range(1000))))
    assert "check the given --mean, --std; or give --scale, --channels" in found
    every = frozenset({"mean", "std", "scale", "channels"})
    assert "give --" not in doubt(one, labels, Given(True, every, classes=frozenset(range(1000))))
    found = doubt(ID[labels], labels, Given(True, frozenset({"class-labels"}), classes=frozenset(range(1000))))
    assert "check the given --class-labels" in found
    assert "give --" not in found


@pytest.mark.parametrize(
    ("offset", "shift", "advice"), [(0, 1, "give --class-offset 1"), (1, 1, "give --class-offset 2")]
)
def test_an_advised_offset_includes_the_given_one(offset: int, shift: int, advice: str) -> None:
    assert Given(offset=offset).shifted(shift) == advice
    assert Given(offset=1).shifted(-1) == "leave out --class-offset"
