"""Which variant a dump matches, and how sure that is: pure arithmetic, no files.

Variants are ranked by the mean absolute difference, averaged over images. Compositions that the shards lack are
guessed: their residual is nearly the sum of their stages' residuals.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from generators.registry import PIXEL_STAGES, plain
from generators.variant import is_whole
from pipelines.evaluate.match.measure import Measured
from pipelines.evaluate.statistics import Bootstrap
from pipelines.shards import Shards

RESAMPLES = 2000
# The mean absolute difference, 0 to 255, up to which a dump is always near a variant: it may be the same method in
# another version, or of another library. Versions of Pillow's filters differ by at most 0.16 (the box filter of 6.2.1
# and of 13.0.0, on 20 ImageNet crops), and torchvision's bilinear without antialiasing differs by 0.16 to 0.20 from
# those of four other libraries (40 crops).
NEAR = 0.25
# The share of the nearest variant's squared error that a sum must remove to be named. On 50 ImageNet crops the sum for
# a true composition of methods in the shards removed 0.59 to 0.90 (with opencv_nearest, or only ffmpeg under NV12, less
# than 0.3: these are suggested, not named). For a composition of other methods a similar sum reached 0.77, so that what
# is named is only a possibility, to be made and matched again.
_EXPLAINS = 0.55
# Sums within this factor of the best fit are equally likely: true ones were within 1.1.
_AS_GOOD = 1.25
_SUGGESTED = 4


class Place(NamedTuple):
    """One group of variants in the ranking; distances are from 0 to 255.

    `same` counts images with equal pixels. `nearest` is the share of images, and `first` that of resamples, in which it
    is the nearest.
    """

    group: int
    names: tuple[str, ...]
    mean: float
    peak: int
    same: int
    nearest: float
    first: float


class Guess(NamedTuple):
    """Sums of single-stage variants that the shards lack and that fit a dump about as well as the best, best first.

    Each is a tuple of variant names. `explained` is the share of the nearest variant's squared error that the best sum
    removes (negative if it adds to it); `first` is the share of resamples in which that sum fits best of all.
    """

    sums: tuple[tuple[str, ...], ...]
    explained: float
    first: float

    @property
    def likely(self) -> bool:
        """Whether the best sum is good enough to be named."""
        return self.explained >= _EXPLAINS


class Ranking(NamedTuple):
    """The groups by distance; `near` says whether the first is nearer to the dump than to its own neighbour."""

    places: list[Place]
    near: bool
    neighbour: str | None
    guess: Guess | None


def rank(shards: Shards, measured: Measured, seed: int) -> Ranking:
    """Rank the groups; deterministic for a seed."""
    resamples = np.concatenate(list(Bootstrap(RESAMPLES, seed).weights(len(measured.keys))))
    mean = measured.mean.mean(axis=0)
    firsts, nearest = shares(measured.mean, resamples), shares(measured.mean, np.eye(len(measured.keys)))
    same = measured.same.sum(axis=0)
    # Ties are broken by the number of equal images, and then by the shards' order.
    order = sorted(range(len(mean)), key=lambda group: (mean[group], -same[group], group))
    places = [
        Place(
            group,
            measured.groups[group].names,
            float(mean[group]),
            int(measured.peak[:, group].max()),
            int(same[group]),
            float(nearest[group]),
            float(firsts[group]),
        )
        for group in order
    ]
    near, neighbour = _near(shards, measured, places)
    guess = None if places[0].peak == 0 else _guess(shards, measured, resamples)
    return Ranking(places, near, neighbour, guess)


def shares(costs: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of weightings in which each column of `costs` is the lowest; ties are split."""
    totals = weights @ costs
    least = totals <= totals.min(axis=1, keepdims=True) * (1 + 1e-9) + 1e-9
    share: NDArray[np.float64] = (least / least.sum(axis=1, keepdims=True)).mean(axis=0)
    return share


def _near(shards: Shards, measured: Measured, places: Sequence[Place]) -> tuple[bool, str | None]:
    if len(places) == 1:
        return places[0].mean <= NEAR, None
    gram = measured.gram.sum(axis=0)
    squares = np.diag(gram)
    first = places[0].group
    between = squares + squares[first] - 2 * gram[first]
    # Other versions of the first one's methods are so near to it that no dump would count as near.
    own = _methods(shards, places[0])
    others = [place.group for place in places[1:] if _methods(shards, place).isdisjoint(own)]
    others = others or [place.group for place in places[1:]]
    neighbour = min(others, key=lambda group: float(between[group]))
    # Equality counts: variants may differ only in the size of images, which the Gram matrix does not show.
    near = places[0].mean <= NEAR or bool(between[-1] <= between[neighbour])
    return near, measured.groups[neighbour].names[0]


def _methods(shards: Shards, place: Place) -> set[tuple[str, ...]]:
    """The methods of a place's variants, a tuple for each, without versions."""
    return {tuple(map(plain, shards.variants[name].stages.values())) for name in place.names}


def _guess(shards: Shards, measured: Measured, resamples: NDArray[np.float64]) -> Guess | None:
    sums = _sums(shards, measured)
    if not sums:
        return None
    alone = np.stack([_squared_error(measured, (group,)) for group in range(len(measured.groups))], axis=1)
    added = np.stack([_squared_error(measured, groups) for groups in sums], axis=1)
    left, total = float(alone.sum(axis=0).min()), added.sum(axis=0)
    if left == 0:  # only the size of images differs
        return None
    order = [index for index in np.argsort(total, kind="stable") if total[index] <= _AS_GOOD * min(left, total.min())]
    if not order:
        return None
    names = [tuple(measured.groups[group].names[0] for group in sums[index]) for index in order[:_SUGGESTED]]
    first = shares(np.concatenate([added, alone], axis=1), resamples)
    return Guess(tuple(names), 1 - float(total[order[0]]) / left, float(first[order[0]]))


def _sums(shards: Shards, measured: Measured) -> list[tuple[int, ...]]:
    """The sets of single-stage groups, a stage each, whose sum is a composition that the shards lack.

    A resize method that decodes by itself is not combined with a decoder.
    """
    existing = {
        tuple(sorted(v.stages[stage] for stage in shards.changed_stages(n))) for n, v in shards.variants.items()
    }
    by_stage: list[list[int | None]] = []
    for stage in PIXEL_STAGES:
        alone = [g for g, group in enumerate(measured.groups) if shards.changed_stages(group.names[0]) == (stage,)]
        by_stage.append([None, *alone])
    whole = {g for g, group in enumerate(measured.groups) if is_whole(shards.variants[group.names[0]].stages)}
    sums = [
        tuple(group for group in (decode, resize, color) if group is not None)
        for decode, resize, color in itertools.product(*by_stage)
        if decode is None or resize not in whole
    ]
    tokens = [tuple(sorted(measured.groups[group].names[0] for group in groups)) for groups in sums]
    return [groups for groups, own in zip(sums, tokens, strict=True) if len(groups) > 1 and own not in existing]


def _squared_error(measured: Measured, groups: Sequence[int]) -> NDArray[np.float64]:
    """For each image, the squared distance of the dump from the reference plus these groups' residuals."""
    signs = np.zeros(measured.gram.shape[1])
    signs[list(groups)], signs[-1] = -1, 1
    error: NDArray[np.float64] = np.einsum("i,nij,j->n", signs, measured.gram, signs)
    return error
