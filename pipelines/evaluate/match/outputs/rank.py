"""Which candidate the device matches, and how sure that is: pure arithmetic, no files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluate.match.outputs.trials import Candidate, Tried
from pipelines.evaluate.match.rank import RESAMPLES, shares
from pipelines.evaluate.statistics import Bootstrap


class Place(NamedTuple):
    """Candidates with the same outputs on all compared images.

    `equal` and `close` count images for which `Apart` has these; `agrees` is a mean, or None. `nearest` is the share of
    images, and `first` that of resamples, in which it is the nearest.
    """

    candidates: tuple[Candidate, ...]
    mean: float
    peak: float
    equal: int
    close: int
    agrees: float | None
    nearest: float
    first: float


def rank(tried: Sequence[Tried], seed: int) -> list[Place]:
    """The candidates by their mean distance; deterministic for a seed. Ties keep the given order."""
    by_digest: dict[bytes, list[Tried]] = {}
    for one in tried:
        by_digest.setdefault(one.digest, []).append(one)
    groups = list(by_digest.values())
    means = np.array([[apart.mean for apart in own[0].apart] for own in groups]).T
    images = len(means)
    resamples = np.concatenate(list(Bootstrap(RESAMPLES, seed).weights(images)))
    firsts, nearest = shares(means, resamples), shares(means, np.eye(images))
    places = [_place(own, float(n), float(f)) for own, n, f in zip(groups, nearest, firsts, strict=True)]
    return sorted(places, key=lambda place: (place.mean, -place.equal))


def _place(own: Sequence[Tried], nearest: float, first: float) -> Place:
    apart = own[0].apart
    agrees = [one.agrees for one in apart if one.agrees is not None]
    return Place(
        tuple(one.candidate for one in own),
        own[0].mean,
        max(one.peak for one in apart),
        sum(one.equal for one in apart),
        sum(one.close for one in apart),
        float(np.mean(agrees)) if agrees else None,
        nearest,
        first,
    )


def is_near(distance: float, others: Sequence[Tried]) -> bool:
    """Whether the device is no farther from the first place than the median of the `others`.

    A device that is farther differs by more than the variants and noise that were tried.
    """
    between: NDArray[np.float64] = np.array([one.mean for one in others if one.mean > 0])
    return bool(len(between) and distance <= np.median(between))
