"""Distributions of residuals as small charts: bars on one logarithmic axis for all variants, and one for zero."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from pipelines.page.figures import BINS_PER_DECADE, DECADES, Distribution

# The chart's size, and the bar for zero with the gap behind it, in pixels.
_WIDTH, _HEIGHT, _ZERO, _GAP = 190, 26, 9, 16


@dataclass(frozen=True)
class Scale:
    """The powers of ten between which all distributions of a set lie; the bins of their decades are drawn."""

    low: int
    high: int

    @classmethod
    def of(cls, distributions: Iterable[Distribution]) -> Scale:
        """The axis that has room for all of them."""
        used = np.flatnonzero(sum((one.bins for one in distributions), np.zeros(1, np.int64)))
        if not used.size:
            return cls(-1, 1)
        low, high = used[0] // BINS_PER_DECADE, used[-1] // BINS_PER_DECADE + 1
        return cls(DECADES[0] + int(low), DECADES[0] + int(high))

    def place(self, power: float) -> float:
        """Where a power of ten is drawn, in pixels."""
        start = _ZERO + _GAP
        return start + (_WIDTH - start) * (power - self.low) / (self.high - self.low)


def bars(distribution: Distribution, scale: Scale, stage: str) -> Markup:
    """A variant's distribution, in the colour of its stage; as high as the fullest bin is full."""
    first = (scale.low - DECADES[0]) * BINS_PER_DECADE
    bins = distribution.bins[first : first + (scale.high - scale.low) * BINS_PER_DECADE]
    fullest = max(distribution.same, *bins, 1)
    width = scale.place(scale.low + 1 / BINS_PER_DECADE) - scale.place(scale.low)
    drawn: list[tuple[float, float, int]] = [(0.0, _ZERO, distribution.same)]
    drawn += [(scale.place(scale.low + at / BINS_PER_DECADE), width - 1, int(count)) for at, count in enumerate(bins)]
    # A bin that is not empty can be seen.
    heights = [(x, wide, max((_HEIGHT - 2) * count / fullest, 1.5)) for x, wide, count in drawn if count]
    shapes = "".join(
        f'<rect x="{x:.1f}" y="{_HEIGHT - 1 - high:.1f}" width="{wide:.1f}" height="{high:.1f}"/>'
        for x, wide, high in heights
    )
    return Markup(
        f'<svg class="bars {stage}" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'aria-hidden="true">{shapes}<path d="M0 {_HEIGHT - 0.5}h{_ZERO}m{_GAP} 0H{_WIDTH}"/></svg>'
    )


def axis(scale: Scale) -> Markup:
    """The axis of all distributions: zero, and powers of ten."""
    powers = range(scale.low, scale.high + 1)
    shown = powers[:: -(-len(powers) // 6)]
    labels = [(_ZERO / 2, "0", "middle")]
    labels += [(scale.place(power), _text(power), "end" if power == scale.high else "middle") for power in shown]
    texts = "".join(f'<text x="{x:.1f}" y="11" text-anchor="{anchor}">{text}</text>' for x, text, anchor in labels)
    return Markup(
        f'<svg class="axis" viewBox="0 0 {_WIDTH} 14" width="{_WIDTH}" height="14" aria-hidden="true">{texts}</svg>'
    )


def _text(power: int) -> str:
    return f"{10.0**power:g}" if power > -4 else f"1e{power}"
