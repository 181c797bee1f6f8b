"""Means over any number of rows: exact, and held in a few numbers."""

from __future__ import annotations

import functools
import math
import operator
import random

from hypothesis import given
from hypothesis import strategies as st

from manifests.derive import _Sum


def total(values: list[float]) -> float:
    found = _Sum()
    for value in values:
        found.add(value)
    return found.total


@given(st.lists(st.floats(-1e300, 1e300)))
def test_a_sum_is_the_one_of_all_values_at_once(values: list[float]) -> None:
    assert total(values).hex() == math.fsum(values).hex()


def test_a_sum_of_many_values_holds_few() -> None:
    chance = random.Random(3)
    values = [chance.random() * 10.0 ** chance.randrange(-30, 3) for _ in range(50_000)]
    found = _Sum()
    for value in values:
        found.add(value)
    one_by_one = functools.reduce(operator.add, values)  # Python's own sum compensates from 3.12 on
    assert found.total == math.fsum(values) != one_by_one
    assert len(found._parts) < 10
