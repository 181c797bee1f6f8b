"""Which variant a dump matches, and how sure that is: pure arithmetic, no files.

Variants are ranked by the mean absolute difference, averaged over recordings. Of equally near variants, one with as
many frames as the dump comes first.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from manifests.mels import TOLERANCE
from pipelines.evaluate.match.rank import RESAMPLES, shares
from pipelines.evaluate.speech.match.measure import Measured
from pipelines.evaluate.statistics import CONFIDENCE, Bootstrap

# The mean absolute difference up to which a dump is always near a variant. Log-mels of speech span 12 units: rounding
# to 8 bits causes 0.012, half precision 0.001.
_NEAR = 0.05
# The first is also near if its distance is less than this share of the next one's.
_CLEARLY = 0.5


class Place(NamedTuple):
    """One group of variants in the ranking.

    `mean` and `peak` are distances in natural-logarithm units. `more` is by how many frames the dump is longer, None if
    that varies, and `other` on how many recordings the lengths differ. `first` is the share of resamples in which the
    group is nearest, and `behind` the share in which it is farther than the one ranked first. `whole` says whether all
    frames of both were compared.
    """

    group: int
    names: tuple[str, ...]
    mean: float
    peak: float
    same: int
    other: int
    more: int | None
    first: float
    behind: float
    whole: bool

    @property
    def alike(self) -> bool:
        """Whether it differs by no more than another kind of CPU may, in the frames that both have."""
        return self.peak <= TOLERANCE

    @property
    def within(self) -> bool:
        """Whether it is alike and has the same frames."""
        return self.alike and self.whole


class Ranking(NamedTuple):
    """The groups by distance; `tied` are those that may be as near as the first; `near` says if the first is near."""

    places: list[Place]
    tied: list[Place]
    near: bool

    @property
    def exact(self) -> bool:
        """Whether every value of every recording is that of the first."""
        return self.places[0].peak == 0 and self.places[0].whole

    @property
    def miss(self) -> Place | None:
        """The nearest group that the dump does not match, on any kind of CPU."""
        apart = (place for place in self.places[1:] if place not in self.tied)
        return next((place for place in apart if not (place.within and self.places[0].within)), None)


def rank(measured: Measured, seed: int) -> Ranking:
    """Rank the groups; deterministic for a seed."""
    count = len(measured.keys)
    resamples = np.concatenate(list(Bootstrap(RESAMPLES, seed).weights(count)))
    mean, other = measured.mean.mean(axis=0), (measured.frames != 0).sum(axis=0)
    order = sorted(
        range(len(mean)), key=lambda group: (mean[group], -measured.same[:, group].sum(), other[group], group)
    )
    totals, firsts = resamples @ measured.mean, shares(measured.mean, resamples)
    behind = (totals > totals[:, order[:1]]).mean(axis=0)
    places = [
        Place(
            group,
            measured.groups[group],
            float(mean[group]),
            float(measured.peak[:, group].max()),
            int(measured.same[:, group].sum()),
            int(other[group]),
            _one(measured, group),
            float(firsts[group]),
            float(behind[group]),
            not other[group] and not measured.shifted,
        )
        for group in order
    ]
    first, *others = places
    tied = [] if first.peak == 0 and not first.other else [place for place in others if _is_tied(place, first, count)]
    apart = [place for place in others if place not in tied]
    near = first.mean <= _NEAR or not apart or first.mean < _CLEARLY * apart[0].mean
    return Ranking(places, tied, near)


def _is_tied(place: Place, first: Place, count: int) -> bool:
    """Whether a group may be as good as the first: as near in enough resamples, with as many frames."""
    as_near = place.behind <= (1 + CONFIDENCE) / 2 if count > 1 else place.mean <= first.mean * (1 + 1e-6)
    return place.other == first.other and (as_near or (place.within and first.within))


def _one(measured: Measured, group: int) -> int | None:
    """By how many frames the dump is longer; None if that varies by recording."""
    found = np.unique(measured.frames[:, group])
    return int(found[0]) if len(found) == 1 else None
