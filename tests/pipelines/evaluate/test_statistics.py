"""Tests and intervals against scipy, statsmodels and published figures."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from pipelines.evaluate.statistics import Bootstrap, holm, paired_bootstrap, paired_proportions

counts = st.integers(0, 60)


@given(lost=counts, gained=counts, same=st.integers(1, 500))
def test_p_is_that_of_mcnemar_s_exact_test(lost: int, gained: int, same: int) -> None:
    found = paired_proportions(lost, gained, lost + gained + same)
    theirs = mcnemar([[same, lost], [gained, 0]], exact=True)
    assert found.p == pytest.approx(theirs.pvalue, abs=1e-12)


@given(lost=counts, gained=counts, same=st.integers(1, 500))
def test_the_interval_leaves_out_0_where_mcnemar_s_score_test_rejects(lost: int, gained: int, same: int) -> None:
    found = paired_proportions(lost, gained, lost + gained + same)
    assert -1 <= found.low <= found.delta <= found.high <= 1
    if lost + gained:
        theirs = mcnemar([[same, lost], [gained, 0]], exact=False, correction=False)
        if abs(theirs.pvalue - 0.05) > 1e-9:
            assert (found.low > 0 or found.high < 0) == (theirs.pvalue < 0.05)
    mirrored = paired_proportions(gained, lost, lost + gained + same)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low), abs=1e-9)


def test_tango_s_interval_is_the_published_one() -> None:
    # Airway hyper-responsiveness, Bentur et al. 2009, as in Fagerland, Lydersen, Laake 2014: 1 and 7 of 21 pairs.
    found = paired_proportions(1, 7, 21)
    assert found.delta == pytest.approx(-0.286, abs=5e-4)
    assert (found.low, found.high) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize(("lost", "gained"), [(0.05, 0.05), (0.15, 0.02), (0.3, 0.1)])
def test_the_interval_covers_the_truth_as_often_as_it_says(lost: float, gained: float) -> None:
    count, covered = 60, 0.0
    for b in range(count + 1):
        for c in range(count + 1 - b):
            chance = comb(count, b) * comb(count - b, c) * lost**b * gained**c * (1 - lost - gained) ** (count - b - c)
            if chance > 1e-9:
                found = paired_proportions(b, c, count)
                covered += chance * (found.low <= lost - gained <= found.high)
    assert 0.93 < covered < 0.98


def test_no_flips_mean_no_difference() -> None:
    found = paired_proportions(0, 0, 300)
    assert (found.delta, found.p) == (0, 1)
    assert found.low == pytest.approx(-found.high)
    assert 0.01 < found.high < 0.02


@settings(max_examples=20)  # statsmodels is slow
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_agrees_with_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_the_bootstrap_agrees_with_scipy_s_and_is_the_same_each_time() -> None:
    random = np.random.default_rng(3)
    reference, variant = random.normal(0.6, 0.3, 400), random.normal(0.56, 0.3, 400)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return Bootstrap(4000, 1).values(lambda weights: weights @ values / weights.sum(axis=1), 400)

    differences = mean(reference) - mean(variant)
    delta = float((reference - variant).mean())
    found = paired_bootstrap(delta, differences)
    theirs = stats.bootstrap((reference - variant,), np.mean, n_resamples=4000, method="percentile", rng=2)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.004)
    assert found.p == pytest.approx(stats.ttest_rel(reference, variant).pvalue, abs=0.02)
    assert np.array_equal(differences, mean(reference) - mean(variant))


def test_resamples_that_never_differ_give_p_1() -> None:
    assert paired_bootstrap(0.0, np.zeros(100)) == (0, 0, 0, 1)
    assert paired_bootstrap(0.1, np.full(999, 0.1)).p == 2 / 1000
