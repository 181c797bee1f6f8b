"""Distances are 0 only for equal outputs, and are those of other implementations."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask

from generators.boxes import BoxNoise
from pipelines.evaluate.match.outputs.boxes import Detections
from pipelines.evaluate.match.outputs.compare import Apart
from pipelines.evaluate.match.outputs.numbers import Numbers
from pipelines.evaluate.model.inputs import Image
from pipelines.evaluate.model.runtimes import Outputs

Floats = NDArray[Any]
EMPTY = np.zeros((0, 6))


class Unread:
    """A reader that must not be used."""

    note = ""
    names: Collection[str] = ()

    def refusal(self, noise: BoxNoise) -> str | None:
        raise AssertionError

    def are_scores(self, output: NDArray[np.float32]) -> bool:
        raise AssertionError

    def read(self, outputs: Outputs, images: Sequence[Image], kinds: Sequence[BoxNoise]) -> list[list[Any]]:
        raise AssertionError


def boxes_apart(one: Floats, other: Floats) -> Apart:
    return Detections({"a": one}, Unread()).apart((one,), (other,))


box = st.tuples(
    *[st.integers(0, 30).map(float)] * 2,
    *[st.integers(1, 30).map(float)] * 2,
    st.integers(1, 100).map(lambda score: score / 100),
    st.sampled_from([1.0, 2.0]),
)
some = st.lists(box, max_size=3).map(lambda rows: np.array(rows, np.float64).reshape(-1, 6))


def by_trying_all(one: Floats, other: Floats) -> float:
    """The definition, with pycocotools' IoU and all ways to pair boxes."""
    few, many = sorted((one, other), key=len)
    best = 0.0
    for chosen in itertools.permutations(range(len(many)), len(few)):
        pairs = [(a, many[place]) for a, place in zip(few, chosen, strict=True) if a[5] == many[place][5]]
        shared = [min(a[4], b[4]) * float(mask.iou([a[:4]], [b[:4]], [0])[0, 0]) for a, b in pairs]
        best = max(best, sum(shared))
    total = one[:, 4].sum() + other[:, 4].sum() - best
    return 1 - best / total if total else 0.0


@settings(max_examples=50)
@given(some, some)
def test_the_distance_of_boxes_is_that_of_the_best_pairing(one: Floats, other: Floats) -> None:
    apart = boxes_apart(one, other)
    assert apart.mean == pytest.approx(by_trying_all(one, other), abs=1e-9)
    assert boxes_apart(other, one).mean == pytest.approx(apart.mean, abs=1e-9)
    assert apart.equal is (sorted(map(tuple, one)) == sorted(map(tuple, other)))


@given(some, st.randoms())
def test_the_order_of_boxes_is_nothing(one: Floats, random: Any) -> None:
    order = list(range(len(one)))
    random.shuffle(order)
    assert boxes_apart(one, one[order]) == Apart(0.0, 0.0, True, True, 1.0)


def test_a_box_more_or_moved_is_no_match() -> None:
    one = np.array([[10, 10, 20, 20, 0.9, 1], [50, 50, 20, 20, 0.4, 1]], np.float64)
    moved = one + np.array([0.01, 0, 0, 0, 0, 0])
    assert not boxes_apart(one, moved).equal
    assert boxes_apart(one, moved).close
    for other in (one[:1], one + np.eye(6)[0], one + np.eye(6)[5], one - 0.01 * np.eye(6)[4], EMPTY):
        apart = boxes_apart(one, other)
        assert apart.mean > 0
        assert not apart.close
    assert boxes_apart(one, EMPTY) == Apart(1.0, 0.0, False, False, 0.0)
    assert boxes_apart(one, one[:1]).agrees == 0.5


LOGITS = np.array([[1.0, -2.0, 3.5, 0.25]], np.float32)


def numbers_apart(device: Floats, model: Floats = LOGITS) -> Apart:
    compared = Numbers({"a": {"": device}}, {"out": model}, 0)
    ((mine,),) = compared.answers({"out": model}, [Image("a", {}, 0, 0)], [BoxNoise()])
    return compared.apart(compared.theirs["a"], mine)


def test_numbers_are_equal_in_the_devices_own_digits() -> None:
    values = np.array([[1.0004, -2.0007, 3.5008, 0.25]], np.float32)
    assert numbers_apart(values, values)[:4] == (0.0, 0.0, True, True)
    assert numbers_apart(values.astype(np.float64), values).equal
    assert numbers_apart(values.astype(np.float16), values)[:4] == (0.0, 0.0, True, True)
    assert not numbers_apart(values.astype(np.float16).astype(np.float32), values).close
    assert not numbers_apart(values + np.float32(3e-5), values).equal
    assert numbers_apart(values + np.float32(3e-5), values).close
    assert not numbers_apart(values + np.float32(3e-4), values).close


def test_the_distance_of_numbers_is_their_mean_difference() -> None:
    apart = numbers_apart(LOGITS + np.array([[0.0, 0.5, -1.0, 0.0]], np.float32))
    assert apart == Apart(0.375, 1.0, False, False, 1.0)
    assert numbers_apart(LOGITS[:, ::-1]).agrees == 0.0


def test_batches_are_split() -> None:
    compared = Numbers({"a": {"": LOGITS}, "b": {"": LOGITS + 1}}, {"out": LOGITS}, 0)
    images = [Image(key, {}, 0, 0) for key in "ab"]
    ((first, second),) = compared.answers({"out": np.concatenate([LOGITS, LOGITS + 1])}, images, [BoxNoise()])
    assert compared.apart(compared.theirs["a"], first).equal
    assert compared.apart(compared.theirs["b"], second).equal
