"""Means and maxima of residuals over any number of rows: exact, whatever the order of the rows and their grouping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

# A double's mantissa has 53 bits, and the last bit of the smallest double is worth 2**-1074. `frexp` scales all
# mantissas alike, so the last bit of one is worth at least 2**-1126.
_MANTISSA, _POINT = 53, 1126
# Sums of halves of mantissas, of this many bits, fit into 64 bits for as many rows as a shard has.
_HALF = 26


def exact_sum(values: Sequence[float]) -> int:
    """The exact sum of finite doubles, in units of 2**-1126."""
    mantissas, exponents = np.frexp(np.asarray(values, np.float64))
    whole = np.ldexp(mantissas, _MANTISSA).astype(np.int64)
    total = 0
    for exponent in np.unique(exponents):
        same = whole[exponents == exponent]
        high, low = int((same >> _HALF).sum()), int((same & (2**_HALF - 1)).sum())
        total += ((high << _HALF) + low) << (int(exponent) - _MANTISSA + _POINT)
    return total


def to_float(total: int) -> float:
    """The double nearest to an exact sum, as `math.fsum` rounds it."""
    return float(Fraction(total, 2**_POINT))


@dataclass(frozen=True)
class ImageResiduals:
    """For some rows: how many were made, how many of those could be compared to the reference, and sums over these."""

    samples: int = 0
    compared: int = 0
    same: int = 0
    max: int = 0
    mean: int = 0
    changed: int = 0

    @classmethod
    def of(
        cls,
        samples: int,
        means: Sequence[float | None],
        maxima: Sequence[int | None],
        shares: Sequence[float | None],
    ) -> ImageResiduals:
        """The residuals of all rows by column, None for a row that was not compared; `samples` rows were made."""
        rows = _compared(means, maxima, shares)
        peaks = [peak for _, peak, _ in rows]
        mean, changed = exact_sum([mean for mean, _, _ in rows]), exact_sum([share for _, _, share in rows])
        return cls(samples, len(rows), peaks.count(0), max([0, *peaks]), mean, changed)

    def __add__(self, other: ImageResiduals) -> ImageResiduals:
        return ImageResiduals(
            self.samples + other.samples,
            self.compared + other.compared,
            self.same + other.same,
            max(self.max, other.max),
            self.mean + other.mean,
            self.changed + other.changed,
        )

    def summary(self) -> Mapping[str, Any]:
        count = self.compared
        return {
            "compared": count,
            "mean_abs": to_float(self.mean) / count if count else None,
            "max_abs": self.max if count else None,
            "changed": to_float(self.changed) / count if count else None,
            # True if every sample has the reference's pixels.
            "degenerate": self.same == self.samples if self.samples else None,
        }


@dataclass(frozen=True)
class MelResiduals:
    """The same for recordings: sums over those that could be compared, and how many of these differ in length."""

    samples: int = 0
    compared: int = 0
    same: int = 0
    max: float = 0.0
    mse: int = 0
    frames: int = 0

    @classmethod
    def of(
        cls,
        samples: int,
        errors: Sequence[float | None],
        maxima: Sequence[float | None],
        frames: Sequence[int | None],
    ) -> MelResiduals:
        """The residuals of all rows by column, None for a row that was not compared; `samples` rows were made."""
        rows = _compared(errors, maxima, frames)
        return cls(
            samples,
            len(rows),
            sum(not peak and not more for _, peak, more in rows),
            max([0.0, *(float(peak) for _, peak, _ in rows)]),
            exact_sum([error for error, _, _ in rows]),
            sum(more != 0 for _, _, more in rows),
        )

    def __add__(self, other: MelResiduals) -> MelResiduals:
        return MelResiduals(
            self.samples + other.samples,
            self.compared + other.compared,
            self.same + other.same,
            max(self.max, other.max),
            self.mse + other.mse,
            self.frames + other.frames,
        )

    def summary(self) -> Mapping[str, Any]:
        count = self.compared
        return {
            "compared": count,
            "mse": to_float(self.mse) / count if count else None,
            "max_abs": self.max if count else None,
            "frames": self.frames if count else None,
            "degenerate": self.same == self.samples if self.samples else None,
        }


def _compared(*columns: Sequence[Any]) -> list[Any]:
    """The rows with a figure in every column."""
    return [row for row in zip(*columns, strict=True) if None not in row]
