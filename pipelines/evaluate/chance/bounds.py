"""Whether a share is significantly low or high: tails of the binomial distribution."""

from __future__ import annotations

from scipy import special

# The largest share of faultless runs in which a doubt is raised.
_RARE = 1e-3
# The same for the best of several readings, chosen on the same data.
_HARDLY_EVER = 1e-6
# How much better than guessing a working model is at least, as a share of what guessing misses.
_WORKING = 0.2


def is_low(hits: int, count: int, chance: float) -> bool:
    """Whether a working model, however bad, would hardly have so few hits; `chance` is the hit rate of guessing."""
    return bool(special.bdtr(hits, count, chance + _WORKING * (1 - chance)) < _RARE)


def is_above(hits: int, count: int, chance: float) -> bool:
    """Whether guessing, with the hit rate `chance`, would hardly have so many hits."""
    return _tail(hits, count, chance) < _RARE


def is_far_above(hits: int, count: int, chance: float) -> bool:
    """The same for a reading that was chosen because it has the most hits."""
    return _tail(hits, count, chance) < _HARDLY_EVER


def _tail(hits: int, count: int, chance: float) -> float:
    """The probability of at least this many hits."""
    return float(special.bdtrc(hits - 1, count, min(chance, 1.0))) if hits > 0 else 1.0
