"""Which variant a dump is, and how sure that is: pure numbers, no files.

Variants are ranked by the mean over images of the mean absolute difference. A composition that is not in the shards is
guessed: its residual is nearly the sum of its stages' residuals.
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
# Mean absolute difference, 0 to 255, up to which a dump is near a variant, whatever else is near: it may be the same
# method in another version, or by another library. Versions of Pillow's filters are 0.16 apart at most (the box
# filter of 6.2.1 and of 13.0.0, on 20 ImageNet crops), and torchvision's bilinear without antialiasing is 0.16 to
# 0.20 from those of four other libraries (40 crops).
NEAR = 0.25
# The part of the nearest variant's squared error that a sum must take away to be named. On 50 ImageNet crops the sum
# of a true composition of methods that are in the shards took away 0.59 to 0.90 (with opencv_nearest, or ffmpeg under
# NV12 alone, less than 0.3: these are tried, not named). A composition of other methods reached 0.77 by a sum that
# looks like it: what is named is a possibility, to be made and matched again.
_EXPLAINS = 0.55
# Sums within this factor of the best fit cannot be told apart by prediction: true ones were within 1.1.
_AS_GOOD = 1.25
_TRIED = 4


class Place(NamedTuple):
    """One group of variants in the ranking; distances in steps of 0 to 255, `first` the share of resamples."""

    group: int
    names: tuple[str, ...]
    mean: float
    peak: int
    same: int
    nearest: float
    first: float


class Guess(NamedTuple):
    """Sums of single-stage variants that are not in the shards and fit a dump about as well as anything, best first.

    Each is the variants' names. `explained` is the part of the squared error left by the nearest variant that the best
    sum takes away (below 0: it adds to it); `first` is the share of resamples in which that sum fits best of all.
    """

    sums: tuple[tuple[str, ...], ...]
    explained: float
    first: float

    @property
    def likely(self) -> bool:
        """Whether the best sum can be named as what the dump is."""
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
    # Equal pixels come first where means are equal too, and then the shards' order.
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
    """In which share of the weightings each column of `costs` is least; equals share."""
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
    # Other versions of its methods are so near to the first that nothing but a version would be near beside them.
    own = _methods(shards, places[0])
    others = [place.group for place in places[1:] if _methods(shards, place).isdisjoint(own)]
    others = others or [place.group for place in places[1:]]
    neighbour = min(others, key=lambda group: float(between[group]))
    # No less than equal: variants may differ in nothing but the size of images, of which the Gram matrix does not know.
    near = places[0].mean <= NEAR or bool(between[-1] <= between[neighbour])
    return near, measured.groups[neighbour].names[0]


def _methods(shards: Shards, place: Place) -> set[tuple[str, ...]]:
    """The methods of a place's variants, a tuple for each, whatever the version."""
    return {tuple(map(plain, shards.variants[name].stages.values())) for name in place.names}


def _guess(shards: Shards, measured: Measured, resamples: NDArray[np.float64]) -> Guess | None:
    sums = _sums(shards, measured)
    if not sums:
        return None
    alone = np.stack([_squared_error(measured, (group,)) for group in range(len(measured.groups))], axis=1)
    added = np.stack([_squared_error(measured, groups) for groups in sums], axis=1)
    left, total = float(alone.sum(axis=0).min()), added.sum(axis=0)
    if left == 0:  # all that differs is the size of images
        return None
    order = [index for index in np.argsort(total, kind="stable") if total[index] <= _AS_GOOD * min(left, total.min())]
    if not order:
        return None
    names = [tuple(measured.groups[group].names[0] for group in sums[index]) for index in order[:_TRIED]]
    first = shares(np.concatenate([added, alone], axis=1), resamples)
    return Guess(tuple(names), 1 - float(total[order[0]]) / left, float(first[order[0]]))


def _sums(shards: Shards, measured: Measured) -> list[tuple[int, ...]]:
    """The groups of single-stage variants that can be added up, a stage each, to what is not in the shards.

    What decodes itself has no decoder beside it.
    """
    there = {tuple(sorted(v.stages[stage] for stage in shards.changed_stages(n))) for n, v in shards.variants.items()}
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
    return [groups for groups, own in zip(sums, tokens, strict=True) if len(groups) > 1 and own not in there]


def _squared_error(measured: Measured, groups: Sequence[int]) -> NDArray[np.float64]:
    """For each image, the squared distance of the dump from the reference plus these groups' residuals."""
    signs = np.zeros(measured.gram.shape[1])
    signs[list(groups)], signs[-1] = -1, 1
    error: NDArray[np.float64] = np.einsum("i,nij,j->n", signs, measured.gram, signs)
    return error
