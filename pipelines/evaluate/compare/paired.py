"""Does one model suffer more than another? A difference of differences on the same images, and its significance.

Pure functions on outcomes. A difference is positive if the first model loses more; everything is a share (0 to 1).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pipelines.evaluate.statistics import CONFIDENCE, Comparison, paired_bootstrap

Hits = NDArray[np.bool_]


def lost(base: Hits, own: Hits) -> NDArray[np.int64]:
    """What a variant loses on each image against the reference: 1, 0 or −1."""
    return base.astype(np.int64) - own.astype(np.int64)


def of_hits(one: NDArray[np.int64], other: NDArray[np.int64]) -> Comparison:
    """Compare what two models lose on each image (int64 of shape (images,), from −1 to 1).

    The test is exact: if the models were alike, each image's difference, up to ±2, would have either sign equally often
    (Fisher's randomisation test, or McNemar's exact one if no difference is 2). The interval is `mean_interval`'s.
    """
    differences = one - other
    return Comparison(float(differences.mean()), *mean_interval(differences), signs_p(differences))


def of_resamples(
    delta: float, one: tuple[NDArray[np.float32], ...], other: tuple[NDArray[np.float32], ...]
) -> Comparison:
    """Compare what two models lose in each resample of the same images; each model's is (reference, variant).

    A longer run starts with the resamples of a shorter one.
    """
    count = min(len(one[0]), len(other[0]))
    mine, theirs = ((base[:count] - own[:count]).astype(np.float64) for base, own in (one, other))
    return paired_bootstrap(delta, mine - theirs)


def mean_interval(values: NDArray[np.number]) -> tuple[float, float]:
    """A 95% interval for the mean of one value for each image, from about −1 to 1.

    Wald's with one image at 1 and one at −1 added, which for paired proportions is Bonett and Price's (Journal of
    Educational and Behavioral Statistics 37, 2012): it is never empty, and keeps its level for small samples.
    """
    count = len(values) + 2
    mean = float(values.sum()) / count
    variance = (float((values.astype(np.float64) ** 2).sum()) + 2) / count - mean**2
    half = float(special.ndtri((1 + CONFIDENCE) / 2)) * math.sqrt(variance / count)
    return mean - half, mean + half


def signs_p(differences: NDArray[np.int64]) -> float:
    """The exact two-sided p-value of a sum of integers under random signs, from the sum's distribution."""
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    share: NDArray[np.float64] = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        # The sum of `count` signs: binomial, in steps of two sizes.
        signs = np.zeros(2 * size * count + 1)
        signs[:: 2 * size] = np.exp(_log_binomial(count))
        share = np.convolve(share, signs).astype(np.float64)
    middle = len(share) // 2
    reached = abs(int(differences.sum()))
    tail = share[middle + reached :].sum() + share[: middle - reached + 1].sum() if reached else 1.0
    return min(1.0, float(tail))


def _log_binomial(count: int) -> NDArray[np.float64]:
    """Logarithms of the binomial distribution with p = 1/2, for 0 to `count`."""
    hits = np.arange(count + 1)
    ways = special.gammaln(count + 1) - special.gammaln(hits + 1) - special.gammaln(count - hits + 1)
    return np.asarray(ways - count * math.log(2))
