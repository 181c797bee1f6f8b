"""Is a difference real? Paired tests and intervals on the same images, and the correction for many tests.

Pure functions on counts and arrays. Differences are reference − variant, as shares (0 to 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from pipelines.ahead import in_order

CONFIDENCE = 0.95


class Comparison(NamedTuple):
    """A paired difference with its 95% interval and two-sided p-value."""

    delta: float
    low: float
    high: float
    p: float


def paired_proportions(lost: int, gained: int, count: int) -> Comparison:
    """Compare two shares of `count` images; `lost` are right only in the reference, `gained` only in the variant.

    The test is McNemar's exact one (Biometrika 1947; binomial with p = 1/2), the interval Tango's score interval. They
    are independent methods: near the threshold one may find a difference that the other does not.
    """
    p = min(1.0, 2 * float(special.bdtr(min(lost, gained), lost + gained, 0.5)))
    return Comparison((lost - gained) / count, *_tango(lost, gained, count), p)


def _tango(b: int, c: int, n: int) -> tuple[float, float]:
    """Tango's score interval for a difference of paired proportions (Statistics in Medicine 17, 1998, eq. 22-27).

    At its ends the score statistic is ±1.96; the statistic falls as the assumed difference grows.
    """
    z = float(special.ndtri((1 + CONFIDENCE) / 2))

    def score(delta: float) -> float:
        # The constrained maximum likelihood estimate of the probability behind c.
        linear = (2 * n - b + c) * delta - b - c
        root = linear**2 + 8 * n * c * delta * (1 - delta)
        estimate = (math.sqrt(max(root, 0.0)) - linear) / (4 * n)
        variance = n * (2 * estimate + delta * (1 - delta))
        excess = b - c - n * delta
        if abs(excess) < 1e-12:
            return 0.0
        return excess / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, excess)

    point, edge = (b - c) / n, 1 - 1e-12
    low = optimize.brentq(lambda d: score(d) - z, -edge, point) if point > -1 else -1.0
    high = optimize.brentq(lambda d: score(d) + z, point, edge) if point < 1 else 1.0
    return low, high


def share_interval(hits: int, count: int) -> tuple[float, float]:
    """The 95% interval of the share `hits` / `count`: Clopper and Pearson's exact one (Biometrika 26, 1934)."""
    tail = (1 - CONFIDENCE) / 2
    low = float(special.betaincinv(hits, count - hits + 1, tail)) if hits else 0.0
    high = float(special.betaincinv(hits + 1, count - hits, 1 - tail)) if hits < count else 1.0
    return low, high


class Bootstrap(NamedTuple):
    """Draws of images with replacement from a seed: the same for every variant."""

    resamples: int
    seed: int

    def weights(self, count: int) -> Iterator[NDArray[np.float64]]:
        """How often each of `count` images is drawn, as successive arrays of shape (some resamples, count)."""
        random = np.random.default_rng(self.seed)
        even = np.full(count, 1 / count)
        at_once = max(1, min(self.resamples, _VALUES_AT_ONCE // count))
        for first in range(0, self.resamples, at_once):
            rows = min(at_once, self.resamples - first)
            yield random.multinomial(count, even, size=rows).astype(np.float64)

    def values(
        self, metric: Callable[[NDArray[np.float64]], NDArray[np.float64]], count: int, threads: int = 1
    ) -> NDArray[np.float64]:
        """A metric of weighted images in every resample: shape (resamples,).

        `metric` is called in this many threads, with the same arguments for any number of them.
        """
        with closing(in_order(metric, self.weights(count), threads, stop=lambda: None)) as parts:
            return np.concatenate(list(parts))


RESAMPLES = 2000
# Resamples for each of m comparisons that leave room for Holm's correction: 2 m / (50 m) < 0.05.
_RESAMPLES_EACH = 50


def enough_resamples(comparisons: int) -> int:
    """How many resamples this many comparisons need, for any of them to be significant."""
    return max(RESAMPLES, _RESAMPLES_EACH * comparisons)


def are_enough(resamples: int, comparisons: int) -> bool:
    """Whether the smallest p-value that resamples allow is below 5%, corrected for this many comparisons."""
    return 2 * comparisons / (resamples + 1) < 1 - CONFIDENCE


# Bounds the memory of resampling, at 8 bytes a value.
_VALUES_AT_ONCE = 1_000_000


def paired_bootstrap(delta: float, resampled: NDArray[np.float64]) -> Comparison:
    """The percentile interval and the two-sided p-value of no difference, from differences in resamples.

    Resamples without a metric (NaN: no object was drawn) are left out.

    p = 2 min(share of resamples at or below 0, share at or above 0), with 1 added to each numerator and denominator so
    that p is never 0 (Davison and Hinkley 1997, §4.2).
    """
    resampled = resampled[np.isfinite(resampled)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    smaller = min(np.count_nonzero(resampled <= 0), np.count_nonzero(resampled >= 0))
    return Comparison(delta, float(low), float(high), min(1.0, 2 * (smaller + 1) / (len(resampled) + 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values by Holm's step-down method (Scandinavian Journal of Statistics 6, 1979), in the same order."""
    count = len(p_values)
    adjusted, largest = [0.0] * count, 0.0
    for rank, index in enumerate(sorted(range(count), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
