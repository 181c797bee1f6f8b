"""The ratios of a variant's tensors along the graph, as SVG text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from matplotlib.axes import Axes

from pipelines.evaluate.layers.answer import Answer, decibels, note
from pipelines.evaluate.layers.measure import Layer
from pipelines.evaluate.report.drawing import COLORS, GRID, INK, MUTED, PAPER, drawing

# Inches: the full width of a page, as there may be hundreds of nodes.
_WIDTH, _HEIGHT = 11.0, 4.6
# The least distance between two slanted names, as a share of the width.
_APART = 0.022
# Characters of a name; a longer one is cut at its beginning, which says less.
_NAME = 26
# The least height of the axis in decibels, and the share of it above the highest ratio, where exact tensors are drawn.
_LEAST, _ABOVE = 20.0, 0.09


def along(answer: Answer) -> str:
    """Draws the ratio of each tensor, the effects of nodes, and the worst nodes with number and name."""
    layers = answer.layers
    low, high = _range(layers)
    exact = high + _ABOVE * (high - low)

    def place(value: float | None) -> float:
        return math.nan if value is None else min(max(value, low), exact)

    with drawing(_HEIGHT, _WIDTH) as (axes, done):
        _uncompared(axes, layers)
        axes.plot(range(len(layers)), [place(layer.snr) for layer in layers], color=MUTED, linewidth=1.1)
        color = COLORS[answer.stage]
        own = [(x, place(layer.effect)) for x, layer in enumerate(layers) if layer.effect is not None]
        axes.plot(*zip(*own, strict=True) if own else ([], []), "o", color=color, markersize=3, markeredgewidth=0)
        axes.set_xlim(-0.01 * len(layers) - 0.5, 1.01 * len(layers) - 0.5)
        axes.set_ylim(low - 0.04 * (high - low), exact + 0.06 * (high - low))
        _worst(axes, answer, [place(layer.effect if answer.of_nodes else layer.snr) for layer in answer.worst])
        _scale(axes, exact, any(layer.snr == math.inf for layer in layers))
        tooltips = {}
        for x, layer in enumerate(layers):
            axes.axvspan(x - 0.5, x + 0.5, facecolor=GRID, alpha=0, linewidth=0, zorder=6).set_gid(f"tensor {x}")
            tooltips[f"tensor {x}"] = _tooltip(layer)
        return done(f"Signal-to-noise ratios of {answer.variant} along the graph. {answer.verdict}", tooltips)


def _range(layers: Sequence[Layer]) -> tuple[float, float]:
    known = [one for layer in layers for one in (layer.snr, layer.effect) if one is not None and math.isfinite(one)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    return low, max(high, low + _LEAST)


def _uncompared(axes: Axes, layers: Sequence[Layer]) -> None:
    """Shade where tensors have another shape."""
    start = 0
    for compared, some in groupby(layers, key=lambda layer: layer.compared):
        end = start + len(list(some))
        if not compared:
            axes.axvspan(start - 0.5, end - 0.5, facecolor=GRID, linewidth=0, alpha=0.6)
        start = end


def _scale(axes: Axes, exact: float, any_exact: bool) -> None:
    axes.grid(axis="y")
    ticks = [tick for tick in axes.get_yticks() if axes.get_ylim()[0] <= tick < exact - 0.5]
    names = [decibels(tick).removesuffix(".0") for tick in ticks]
    axes.set_yticks([*ticks, *[exact] * any_exact], [*names, *["exact"] * any_exact])
    axes.tick_params(axis="y", labelcolor=MUTED)
    axes.set_ylabel("signal-to-noise ratio, dB (lower is worse)")
    axes.set_xticks([])


def _worst(axes: Axes, answer: Answer, heights: Sequence[float]) -> None:
    """Mark the worst nodes with numbers, and write their names below the axis."""
    order = {layer.tensor.name: x for x, layer in enumerate(answer.layers)}
    spots = [order[layer.tensor.name] for layer in answer.worst]
    left, right = axes.get_xlim()
    below = dict(zip(sorted(spots), _apart(sorted(spots), left, right), strict=True))
    foot = axes.get_ylim()[0]
    for rank, (layer, x, y) in enumerate(zip(answer.worst, spots, heights, strict=True), start=1):
        color = COLORS[answer.stage]
        axes.plot([x, x], [foot, y], color=color, linewidth=0.7, alpha=0.7)
        axes.plot([x], [y], "o", color=color, markersize=12, markeredgecolor=PAPER, zorder=4)
        axes.annotate(
            str(rank), (x, y), ha="center", va="center_baseline", fontsize=8, color=PAPER, weight="bold", zorder=5
        )
        share = (below[x] - left) / (right - left)
        axes.annotate(
            f"{rank}  {_short(layer.tensor.node)}",
            (x, foot),
            xytext=(share, -0.05),
            textcoords="axes fraction",
            ha="right",
            va="top",
            rotation=38,
            rotation_mode="anchor",
            fontsize=9,
            color=INK,
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "linewidth": 0.7,
                "alpha": 0.7,
                "shrinkA": 0,
                "shrinkB": 0,
                "relpos": (1, 1),
            },
        )


def _apart(spots: Sequence[int], left: float, right: float) -> list[float]:
    """Positions for names: as close to `spots` as possible without touching, in the same order."""
    least = _APART * (right - left)
    places: list[float] = []
    for spot in spots:
        places.append(max(spot, places[-1] + least) if places else spot)
    end = right
    for index in reversed(range(len(places))):
        places[index] = end = min(places[index], end)
        end -= least
    return places


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"…{name[1 - _NAME :]}"


def _tooltip(layer: Layer) -> str:
    tensor = layer.tensor
    ratio = note(layer) or f"{decibels(layer.snr)} dB"
    alone = f", its node alone {decibels(layer.alone)}" if layer.alone is not None else ""
    effect = f", the outputs then {decibels(layer.effect)}" if layer.effect is not None else ""
    weights = f", its weights {decibels(layer.weights)}" if layer.weights is not None else ""
    return f"{tensor.operator} {tensor.node}, tensor {tensor.name}: {ratio}{alone}{effect}{weights}"
