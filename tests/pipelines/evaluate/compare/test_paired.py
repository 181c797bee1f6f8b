"""Differences of differences against other implementations, and against known results."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from pipelines.evaluate.compare.paired import mean_interval, of_hits, signs_p
from pipelines.evaluate.statistics import Bootstrap


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(-2, 2), min_size=2, max_size=10))
def test_the_exact_test_agrees_with_scipys_permutation_test(differences: list[int]) -> None:
    found = np.array(differences)
    theirs = stats.permutation_test(
        (found, np.zeros_like(found)),
        lambda one, other, axis: np.sum(one - other, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**11,
    )
    assert signs_p(found) == pytest.approx(theirs.pvalue, abs=1e-12)


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (7, 2), (40, 80), (900, 1100)])
def test_without_twos_it_is_mcnemars(lost: int, gained: int) -> None:
    theirs = mcnemar([[0, lost], [gained, 0]], exact=True).pvalue if lost + gained else 1.0
    values = np.repeat([1, -1, 0], [lost, gained, 50])
    assert signs_p(values) == pytest.approx(theirs, rel=1e-9)


def test_the_model_that_suffers_more_is_positive_and_swapping_negates() -> None:
    one, other = np.array([1, 1, 0, -1, 1, 0]), np.array([0, -1, 0, 0, 1, 0])
    there, back = of_hits(one, other), of_hits(other, one)
    assert there.delta == pytest.approx(2 / 6)
    assert (back.delta, back.low, back.high, back.p) == pytest.approx((-there.delta, -there.high, -there.low, there.p))


def test_intervals_cover_as_stated() -> None:
    """Coverage is at least about 95% in small samples, also for models that rarely differ."""
    random = np.random.default_rng(1)
    for shares in ([0.0, 0.01, 0.97, 0.02, 0.0], [0.03, 0.1, 0.6, 0.2, 0.07]):
        true = float(np.dot([-2, -1, 0, 1, 2], shares))
        drawn = random.choice([-2, -1, 0, 1, 2], p=shares, size=(1000, 100))
        inside = [low <= true <= high for low, high in map(mean_interval, drawn)]
        assert np.mean(inside) > 0.935
    low, high = mean_interval(np.zeros(300))
    assert low < 0 < high


def test_a_shorter_bootstrap_is_a_prefix_of_a_longer_one() -> None:
    short, long = (np.concatenate(list(Bootstrap(count, 3).weights(30_000))) for count in (40, 70))
    assert np.array_equal(short, long[:40])
