"""How sure it is that a share is low or high: tails of the binomial distribution."""

from __future__ import annotations

from scipy import special

# A doubt is raised in one of so many runs, at most, in which there is nothing to doubt.
_RARE = 1e-3
# Of several readings the best is taken, of data that were looked at already.
_HARDLY_EVER = 1e-6
# What a model that works has right of what it can know, at the very least, above guessing.
_WORKING = 0.2


def is_low(hits: int, count: int, chance: float) -> bool:
    """Whether a model that works, however badly, would hardly have so few right."""
    return bool(special.bdtr(hits, count, chance + _WORKING * (1 - chance)) < _RARE)


def is_above(hits: int, count: int, chance: float) -> bool:
    """Whether guessing, right with this probability, would hardly have so many right."""
    return _tail(hits, count, chance) < _RARE


def is_far_above(hits: int, count: int, chance: float) -> bool:
    """The same for a reading that was chosen since it has the most right."""
    return _tail(hits, count, chance) < _HARDLY_EVER


def _tail(hits: int, count: int, chance: float) -> float:
    """The probability of at least so many."""
    return float(special.bdtrc(hits - 1, count, min(chance, 1.0))) if hits > 0 else 1.0
