"""mIoU at chance level: another order of classes is found in made-up label maps, and poor models are not doubted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from pipelines.evaluate.chance.given import Given
from pipelines.evaluate.chance.maps import _kappa, doubt

SEEDS = st.integers(0, 2**32 - 1)
CLASSES = np.arange(19)


def maps(
    random: np.random.Generator, count: int, right: float, classes: NDArray[np.int64] = CLASSES
) -> NDArray[np.int64]:
    """True and predicted classes of the pixels of `count` images, a share of them right: shape (2, images, 200)."""
    truth = random.choice(classes, (count, 200))
    return np.stack([truth, np.where(random.random(truth.shape) < right, truth, random.choice(classes, truth.shape))])


def confusion(pair: NDArray[np.int64]) -> NDArray[np.int64]:
    pairs = pair[0] * 19 + pair[1]
    return np.stack([np.bincount(image, minlength=19 * 19).reshape(19, 19) for image in pairs])


@settings(max_examples=12)
@drawn(SEEDS, st.integers(1, 40), st.floats(0.3, 1))
def test_a_working_model_is_not_doubted(seed: int, count: int, right: float) -> None:
    assert doubt(confusion(maps(np.random.default_rng(seed), count, right)), Given()) == ""


@settings(max_examples=12)
@drawn(SEEDS, st.integers(1, 7))
def test_a_few_images_prove_nothing(seed: int, count: int) -> None:
    assert doubt(confusion(maps(np.random.default_rng(seed), count, 0)), Given()) == ""


@settings(max_examples=12)
@drawn(SEEDS, st.integers(2, 30), st.floats(0.6, 1))
def test_label_ids_and_an_offset_are_named(seed: int, count: int, right: float) -> None:
    random = np.random.default_rng(seed)
    some = maps(random, count, right, np.arange(6))  # their label ids are below 19
    found = doubt(confusion(np.stack([some[0], np.array([7, 8, 11, 12, 13, 17])[some[1]]])), Given())
    assert "if the maps are read as label ids: classes must be Cityscapes' 19 train ids" in found
    some = maps(random, count, right, np.arange(18))
    found = doubt(confusion(np.stack([some[0], some[1] + 1])), Given())
    assert "if the maps are read as train ids counted from 1 (is 0 the background?)" in found


@settings(max_examples=12)
@drawn(SEEDS, st.integers(10, 40))
def test_other_causes_are_distinguished(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    pair = maps(random, count, 0.9)
    other = np.roll(random.permutation(19), 1)
    cases = {
        "Maps are unrelated to the ground truth": random.permuted(pair[1].ravel()).reshape(pair[1].shape),
        "100% of the pixels are class 3": np.full_like(pair[1], 3),
    }
    if not np.any(other == CLASSES) and np.all(np.abs(other - CLASSES) > 1):
        cases["Maps have the right shapes under other numbers"] = other[pair[1]]
    for wanted, predicted in cases.items():
        assert wanted in doubt(confusion(np.stack([pair[0], predicted])), Given())


@pytest.mark.parametrize("right", [0.0, 0.3, 1.0])
def test_kappa_is_scikit_learn_s(right: float) -> None:
    pair = maps(np.random.default_rng(2), 5, right)
    theirs = cohen_kappa_score(pair[0].ravel(), pair[1].ravel())
    assert _kappa(confusion(pair).sum(axis=0)) == pytest.approx(theirs)
