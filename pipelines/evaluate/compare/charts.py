"""The comparison's charts as SVG text: Δ by stage, grouped by model (the paper's Figure 4), and Δ against size.

Colours and markers are the report's; names that would overlap appear only in tooltips.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from pipelines.evaluate.compare.answer import Answer
from pipelines.evaluate.compare.relations import Relation
from pipelines.evaluate.compare.table import Cell, Column, Row
from pipelines.evaluate.report.drawing import COLORS, INK, MUTED, drawing
from pipelines.evaluate.report.words import number, signed
from pipelines.style.stages import COMBINED

Point = tuple[float, float]

# Where a name may go next to its point: the side, and how many lines up.
_PLACES = ((1, 0), (-1, 0), (1, -1), (1, 1), (-1, -1), (-1, 1))
# Inches for a bar, between groups of bars, and for the axis; characters in a label's line.
_BAR, _GAP, _AXIS = 0.17, 0.16, 0.7
_LABEL = 20


def bars(found: Answer) -> str:
    """Mean Δ of each stage as a bar with a line to its maximum, in a group for each model."""
    columns, rows = found.table.columns, found.table.rows
    top, ticks, tooltips = 0.0, list[float](), dict[str, str]()
    heights = [_BAR * max(1, len([c for c in columns if c.key in row.cells])) for row in rows]
    with drawing(_AXIS + sum(heights) + _GAP * len(rows)) as (axes, done):
        for row, height in zip(rows, heights, strict=True):
            ticks.append(top + height / 2)
            tooltips |= _group(axes, row, columns, top)
            top += height + _GAP
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_yticks(ticks, [wrapped(row.report.name) for row in rows])
        axes.set_ylim(top, -_GAP / 2)
        axes.margins(x=0.05)
        axes.grid(axis="x")
        axes.set_xlabel(f"Δ {found.metric}, points (right: worse)")
        return done("Mean and maximum of the difference by stage, for each model", tooltips)


def _group(axes: Axes, row: Row, columns: Sequence[Column], top: float) -> Mapping[str, str]:
    """A model's bars from `top` down, and their tooltips."""
    tooltips = {}
    there = [column for column in columns if column.key in row.cells]
    for place, column in enumerate(there):
        cell, y = row.cells[column.key], top + _BAR * (place + 0.5)
        name = f"bar {row.report.name} {column.key}"
        drawn = axes.barh([y], [cell.mean], height=0.8 * _BAR, color=COLORS[column.stage])
        drawn.patches[0].set_gid(name)
        if cell.methods > 1:
            axes.plot((cell.mean, cell.worst.delta), (y, y), color=COLORS[column.stage], linewidth=1.4)
        tooltips[name] = f"{row.report.name}, {column.title}: {_tooltip(cell)}"
    return tooltips


def _tooltip(cell: Cell) -> str:
    if cell.methods == 1:
        return f"Δ {signed(cell.mean)} ({cell.worst.name})"
    return f"mean Δ {signed(cell.mean)}, at most {signed(cell.worst.delta)} ({cell.worst.name})"


def wrapped(name: str) -> str:
    """A model's name, wrapped if it is long."""
    return "\n".join(name[start : start + _LABEL] for start in range(0, len(name), _LABEL))


def relation(found: Answer, one: Relation) -> str:
    """Combined Δ against a property of the models, with families joined by lines."""
    points = one.points
    with drawing(3.4) as (axes, done):
        if one.logarithmic:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        for members in found.families.values():
            line = sorted(points[name] for name in members if name in points)
            axes.plot([x for x, _ in line], [y for _, y in line], color=MUTED, linewidth=1.2)
        for name, (x, y) in points.items():
            (drawn,) = axes.plot([x], [y], "D", color=COLORS[COMBINED], markersize=6.5, zorder=3)
            drawn.set_gid(f"model {name}")
        axes.axhline(0, color=MUTED, linewidth=1)
        axes.margins(x=0.15, y=0.18)
        _name(axes, one)
        axes.grid(axis="both")
        axes.tick_params(axis="y", labelcolor=MUTED)
        title = f"{found.metric} of the reference" if one.what == "accuracy" else one.title
        axes.set_xlabel(title)
        axes.set_ylabel(f"combined Δ {found.metric}, points")
        tooltips = {f"model {name}": f"{name}: {number(x)}, Δ {signed(y)}" for name, (x, y) in points.items()}
        return done(f"Combined difference against {title}", tooltips)


def _name(axes: Axes, one: Relation) -> None:
    """Label the points that have room for a name, starting with those that suffer most."""
    low, high = (math.log(x) if one.logarithmic else x for x in axes.get_xlim())
    bottom, top = axes.get_ylim()
    taken: list[tuple[float, float]] = []
    placed = {
        name: (((math.log(x) if one.logarithmic else x) - low) / (high - low), (y - bottom) / (top - bottom))
        for name, (x, y) in one.points.items()
    }
    for name, at in sorted(placed.items(), key=lambda item: -item[1][1]):
        shown = name if len(name) <= _LABEL else f"{name[: _LABEL - 1]}…"
        others = [*(other for other in placed.values() if other != at), *taken]
        place = next((place for place in _PLACES if _has_room(at, place, len(shown), others)), None)
        if place is None:
            continue
        taken += _covered(at, place, len(shown))
        axes.annotate(
            shown,
            one.points[name],
            xytext=(7 * place[0], 12 * place[1]),
            textcoords="offset points",
            ha="left" if place[0] > 0 else "right",
            va="center",
            fontsize=8.5,
            color=INK,
        )


def _covered(at: Point, place: tuple[int, int], length: int) -> list[Point]:
    """Points along a name of this many characters, as fractions of the axes."""
    (x, y), (side, up) = at, place
    # A character takes about 1/70 of the width, a line 1/14 of the height.
    return [(x + side * (0.03 + 0.0145 * length * part), y + 0.075 * up) for part in (0, 0.25, 0.5, 0.75, 1)]


def _has_room(at: Point, place: tuple[int, int], length: int, others: Sequence[Point]) -> bool:
    covered = _covered(at, place, length)
    inside = all(-0.01 <= x <= 1.01 and 0.02 <= y <= 0.98 for x, y in covered)
    return inside and not any(abs(a - x) < 0.05 and abs(b - y) < 0.07 for a, b in others for x, y in covered)
