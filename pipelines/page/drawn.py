"""The page's matrix and distributions as pictures (PNG), for a repository's card, which shows no page.

On white, so that they can be read on light and dark pages.
"""

from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from pipelines.page.colours import ink_on
from pipelines.page.distribution import Scale
from pipelines.page.figures import BINS_PER_DECADE, DECADES
from pipelines.page.html import ROOM_FOR_NUMBERS, Page, figure
from pipelines.page.order import by_similarity
from pipelines.style.stages import ALL_LOOKS
from pipelines.text import number_of
from pipelines.wording import wording

# Inches for a row and for a letter, and dots per inch.
_ROW, _LETTER, _DPI = 0.24, 0.085, 110
_INK, _MUTED = "#16191d", "#5a626d"


def matrix(page: Page) -> bytes:
    """The distances between all distinct variants, in the page's order."""
    of = page.set
    order = by_similarity(page.apart.distances)
    distances = page.apart.distances[np.ix_(order, order)].copy()
    names = [of.groups[place].label for place in order]
    np.fill_diagonal(distances, np.nan)
    count = len(order)
    known = distances[distances > 0]
    lowest, highest = (known.min(), known.max()) if known.size else (1.0, 1.0)
    # A logarithmic scale has no zero: it gets the lowest colour, as on the page.
    shades = np.where(distances == 0, lowest, distances)
    side = max(count * (0.42 if count <= ROOM_FOR_NUMBERS else _ROW), 2.0)
    margin = 0.5 + _LETTER * max(map(len, names))
    drawing = Figure(figsize=(side + margin, side + 0.7), layout="constrained")
    axes = drawing.add_subplot()
    image = axes.imshow(shades, cmap="viridis", norm=LogNorm(lowest, highest))
    axes.set_xticks(range(count), [str(place + 1) for place in range(count)])
    axes.set_yticks(range(count), [f"{name}  {place + 1}" for place, name in enumerate(names)])
    axes.xaxis.tick_top()
    if count <= ROOM_FOR_NUMBERS:
        for (row, column), value in np.ndenumerate(distances):
            if np.isfinite(value):
                shade = np.array(image.to_rgba(shades[row, [column]], bytes=True)[0, :3], np.uint8)
                axes.text(column, row, figure(value), ha="center", va="center", color=ink_on(shade), fontsize=8)
    measured = number_of(page.measured, wording(of.shards.dataset).sample)
    axes.set_title(f"{of.measure.heading} between variants, over {measured}")
    return _png(drawing, axes)


def distributions(page: Page) -> bytes:
    """Every variant's distribution of residuals, on one logarithmic axis."""
    of = page.set
    rows = [(stage, variant) for stage, variants in of.by_stage() for variant in variants]
    found = page.figures.distributions
    scale = Scale.of(found.values())
    bins = slice(*((power - DECADES[0]) * BINS_PER_DECADE for power in (scale.low, scale.high)))
    drawing = Figure(figsize=(7.5, max(len(rows) * _ROW, 0.6) + 1.1), layout="constrained")
    axes = drawing.add_subplot()
    edges = scale.low + np.arange((scale.high - scale.low) * BINS_PER_DECADE) / BINS_PER_DECADE
    zero = scale.low - 0.5
    for row, (stage, variant) in enumerate(rows):
        own = found[of.group_of(variant.name).name]
        heights = np.array([own.same, *own.bins[bins]]) / max(own.same, *own.bins[bins], 1)
        places = [zero, *(edges + 0.5 / BINS_PER_DECADE)]
        axes.bar(places, 0.85 * heights, 0.9 / BINS_PER_DECADE, bottom=-row, color=ALL_LOOKS[stage].light)
        axes.axhline(-row, color="#dde1e6", linewidth=0.6, zorder=0)
    axes.set_yticks([0.25 - row for row in range(len(rows))], [variant.name for _, variant in rows])
    powers = range(scale.low, scale.high + 1)
    axes.set_xticks([zero, *powers], ["0", *(f"{10.0**power:g}" for power in powers)])
    axes.set_ylim(-len(rows) + 0.9, 1)
    sample, reference = wording(of.shards.dataset).sample, of.shards.config["reference"]
    axes.set_title(f"{of.measure.heading} from the reference ({reference}), {sample}s")
    return _png(drawing, axes)


def _png(drawing: Figure, axes: mpl.axes.Axes) -> bytes:
    axes.tick_params(length=0, labelsize=9, labelcolor=_INK)
    axes.title.set(fontsize=10, color=_MUTED)
    for spine in axes.spines.values():
        spine.set_visible(False)
    buffer = io.BytesIO()
    drawing.savefig(buffer, dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()
