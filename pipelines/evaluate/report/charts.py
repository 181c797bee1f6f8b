"""The report's charts as SVG text.

Each stage has its own marker and colour; a filled marker is a significant difference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes

from generators.registry import PIXEL_STAGES
from pipelines.evaluate.report.drawing import COLORS, MUTED, PAPER, drawing
from pipelines.evaluate.report.words import Compared, metric, number, p_value, signed
from pipelines.evaluate.results import Line, Results
from pipelines.evaluate.steps import Step
from pipelines.style.stages import ALL_LOOKS, COMBINED

# Inches for a row with a one-line label, and for each further line.
_ROW, _FURTHER_LINE = 0.235, 0.155
_MARKER = 6.5
# Characters in a label's line.
_LABEL = 22


def differences(results: Results) -> str:
    """Δ of every variant that differs at one stage, with its 95% interval, grouped by stage."""
    lines = [line for line in results.lines if line.stage != COMBINED]
    return _of_results(results, lines, "The difference of each single method from the reference with its 95% interval")


def compositions(results: Results) -> str:
    """The same for variants that differ at several stages, on the same axis."""
    lines = [line for line in results.lines if line.stage == COMBINED]
    return _of_results(results, lines, "The difference of each composition from the reference with its 95% interval")


def _of_results(results: Results, lines: Sequence[Line], label: str) -> str:
    return intervals(lines, results.lines, label, f"Δ {metric(results)}, points (right: worse)")


def intervals(
    lines: Sequence[Compared],
    on_axis: Sequence[Compared],
    label: str,
    axis: str,
    figure: Callable[[float], str] = number,
) -> str:
    """Differences with their 95% intervals, a row each, on an axis wide enough for `on_axis`.

    `figure` formats a number for tooltips.
    """
    names = [_wrapped(line.name) for line in lines]
    heights = [_ROW + _FURTHER_LINE * name.count("\n") for name in names]
    ends = [end for line in on_axis for end in (*line.ci95, line.delta, 0.0)]
    margin = 0.04 * max(max(ends) - min(ends), 1e-6)
    with drawing(0.7 + max(sum(heights), 2 * _ROW)) as (axes, done):
        top, places = 0.0, []
        for line, height in zip(lines, heights, strict=True):
            places.append(top + height / 2)
            _interval(axes, line, places[-1])
            top += height
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_yticks(places, names)
        for tick, name in zip(axes.get_yticklabels(), names, strict=True):
            tick.set_linespacing(1.15)
            tick.set_fontsize(9 if "\n" in name else 10.5)
        axes.set_ylim(max(top, 2 * _ROW) + 0.05, -0.05)
        axes.set_xlim(min(ends) - margin, max(ends) + margin)
        axes.grid(axis="x")
        axes.set_xlabel(axis)
        return done(label, _tooltips(lines, figure))


def _wrapped(name: str) -> str:
    """A variant's name, wrapped after `+` if it is long."""
    rows = [""]
    for part in re.findall(r"[^+]+\+?", name):
        if rows[-1] and len(rows[-1]) + len(part) > _LABEL:
            rows.append("")
        rows[-1] += part
    return "\n".join(rows)


def _color(line: Compared) -> str:
    return COLORS[line.stage]


def _interval(axes: Axes, line: Compared, place: float) -> None:
    axes.plot(line.ci95, (place, place), color=_color(line), linewidth=1.6, solid_capstyle="round")
    _marker(axes, line, line.delta, place)


def _marker(axes: Axes, line: Compared, x: float, y: float) -> None:
    color = _color(line)
    face = color if line.significant else PAPER
    size = _MARKER * (1.45 if ALL_LOOKS[line.stage].marker == "*" else 1)  # a star has a smaller area
    style: dict[str, Any] = {
        "markersize": size,
        "markerfacecolor": face,
        "markeredgecolor": color,
        "markeredgewidth": 1.4,
    }
    (drawn,) = axes.plot([x], [y], ALL_LOOKS[line.stage].marker, zorder=3, **style)
    drawn.set_gid(f"variant {line.name}")


def has_residuals(results: Results) -> bool:
    """Whether `residuals` has anything to show."""
    return bool(_residual_lines(results))


def _residual_lines(results: Results) -> list[Line]:
    """Variants of the pixels only: noise in a model has no pixel differences."""
    return [
        line
        for line in results.lines
        if line.mean_residual is not None and not line.degenerate and set(line.changed) <= set(PIXEL_STAGES)
    ]


def residuals(results: Results) -> str:
    """Δ against the mean absolute residual: do larger pixel differences cost more?"""
    lines = _residual_lines(results)
    with drawing(3.4) as (axes, done):
        for line in lines:
            _marker(axes, line, line.mean_residual or 0.0, line.delta)
        axes.axhline(0, color=MUTED, linewidth=1)
        axes.margins(x=0.12, y=0.14)
        _name_outermost(axes, lines)
        axes.grid(axis="both")
        axes.set_xlim(left=-0.02 * axes.get_xlim()[1])  # room for a marker at 0
        axes.tick_params(axis="y", labelcolor=MUTED)
        axes.set_xlabel("mean absolute pixel difference (0 to 255)")
        axes.set_ylabel(f"Δ {metric(results)}, points")
        return done("Difference in score against mean pixel difference", _tooltips(lines))


def _name_outermost(axes: Axes, lines: Sequence[Line]) -> None:
    """Label the points that have room for a name; all points have tooltips and are in the table."""
    width, height = (high - low for low, high in (axes.get_xlim(), axes.get_ylim()))
    points = [(line.mean_residual or 0.0, line.delta) for line in lines]
    taken: list[tuple[float, float]] = []
    for line, (x, y) in sorted(zip(lines, points, strict=True), key=lambda pair: -abs(pair[0].delta)):
        side = 1 if x < axes.get_xlim()[0] + 0.65 * width else -1
        # A name takes about a third of the width and a fourteenth of the height.
        room = [(side * (a - x) / width, (b - y) / height) for a, b in (*points, *taken) if (a, b) != (x, y)]
        if any(-0.02 < right < 0.33 and abs(up) < 0.07 for right, up in room):
            continue
        taken.append((x + side * width / 6, y))
        axes.annotate(
            line.name,
            (x, y),
            xytext=(6 * side, 5 if y >= 0 else -6),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            va="center",
            fontsize=8.5,
            color=MUTED,
        )


def steps(results: Results, chain: Sequence[Step], title: str) -> str:
    """Δ with its 95% interval as stages are added one after another, as in the paper's Figure 3."""
    lines = [results.line(step.variant) for step in chain]
    what = metric(results)
    with drawing(0.75 + 0.42 * len(chain)) as (axes, done):
        for place, (step, line) in enumerate(zip(chain, lines, strict=True)):
            color = COLORS[step.stage]
            drawn = axes.barh([place], [line.delta], height=0.42, color=color)
            drawn.patches[0].set_gid(f"variant {line.name}")
            axes.plot(line.ci95, (place + 0.33, place + 0.33), color=color, linewidth=1.4, solid_capstyle="round")
            label = f"{signed(line.delta)} → {number(line.figures[results.metric])}"
            right = max(line.delta, 0.0)
            axes.annotate(label, (right, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9.5)
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_yticks(range(len(chain)), [_step_label(results, step) for step in chain])
        axes.set_ylim(len(chain) - 0.4, -0.5)
        low, high = min(0.0, *(line.ci95[0] for line in lines)), max(0.0, *(line.ci95[1] for line in lines))
        # Room for the label of the longest bar.
        high = max(high, max(0.0, *(line.delta for line in lines)) + 0.62 * (high - low), low + 1e-6)
        axes.set_xlim(low - 0.03 * (high - low), high)
        axes.grid(axis="x")
        reference = number(results.reference.figures[results.metric])
        axes.set_xlabel(f"Δ {what}, points, and what remains of {reference}")
        return done(f"The loss as stages are added one after another. {title}", _tooltips(lines))


def _step_label(results: Results, step: Step) -> str:
    combined = results.combined is not None and results.combined.name == step.variant
    return f"+ {step.method}\n= Combined" if combined else f"+ {step.method}"


def _tooltips(lines: Sequence[Compared], figure: Callable[[float], str] = number) -> dict[str, str]:
    return {f"variant {line.name}": _tooltip(line, figure) for line in lines}


def _tooltip(line: Compared, figure: Callable[[float], str]) -> str:
    sign = "+" if line.delta > 0 else ""
    low, high = map(figure, line.ci95)
    return f"{line.name}: Δ {sign}{figure(line.delta)}, 95% {low} to {high}, p (Holm) {p_value(line.p_holm)}"
