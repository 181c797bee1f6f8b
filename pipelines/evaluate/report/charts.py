"""The report's charts as SVG text, drawn by matplotlib, in colours that the page's style sheet sets.

Colours here are placeholders that become CSS variables, so that one drawing serves light and dark pages. A stage has a
marker of its own besides its colour; a filled marker is a difference that is more than chance.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.evaluate.report.text import METRICS, interval, number, p_value, signed
from pipelines.evaluate.results import COMBINED, Line, Results

# Placeholders: no other colour is drawn.
_COLORS = {
    "#010101": "ink",
    "#020202": "muted",
    "#030303": "grid",
    "#040404": "paper",
    "#050505": "decode",
    "#060606": "resize",
    "#070707": "color",
    "#080808": "combined",
}
_INK, _MUTED, _GRID, _PAPER = list(_COLORS)[:4]
_STAGE_COLORS = dict(zip(("decode", "resize", "color", COMBINED), list(_COLORS)[4:], strict=True))
MARKERS = {"decode": "o", "resize": "s", "color": "^", COMBINED: "D"}
# Narrow, so that a phone shows the text at a readable size.
_WIDTH = 5.2

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sysnoise",  # the same drawing gives the same bytes
    "font.size": 10.5,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "figure.facecolor": "none",
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "text.color": _INK,
    "xtick.color": _MUTED,
    "ytick.color": _INK,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _INK,
    "ytick.left": False,
    "xtick.bottom": False,
    "axes.unicode_minus": True,
}


def differences(results: Results) -> str:
    """Δ of every variant with its 95% interval, grouped by stage."""
    lines = list(reversed(results.lines))
    with _drawing(0.7 + 0.235 * max(len(lines), 2)) as (axes, done):
        for place, line in enumerate(lines):
            _interval(axes, line, place)
        axes.axvline(0, color=_MUTED, linewidth=1)
        axes.set_yticks(range(len(lines)), [line.name for line in lines])
        axes.set_ylim(-0.7, len(lines) - 0.3)
        axes.grid(axis="x")
        axes.set_xlabel(f"Δ {METRICS[results.metric]}, points (right: worse)")
        return done("The difference of each variant from the reference with its 95% interval", results.lines)


def _interval(axes: Axes, line: Line, place: float) -> None:
    color = _STAGE_COLORS[line.stage]
    axes.plot(line.ci95, (place, place), color=color, linewidth=1.6, solid_capstyle="round")
    _marker(axes, line, line.delta, place)


def _marker(axes: Axes, line: Line, x: float, y: float) -> None:
    color = _STAGE_COLORS[line.stage]
    face = color if line.significant else _PAPER
    style = {"markersize": 6.5, "markerfacecolor": face, "markeredgecolor": color, "markeredgewidth": 1.4}
    (drawn,) = axes.plot([x], [y], MARKERS[line.stage], zorder=3, **style)  # type: ignore[arg-type]
    drawn.set_gid(f"variant {line.name}")


def residuals(results: Results) -> str:
    """Δ against the mean absolute residual: whether larger differences of pixels cost more."""
    lines = [line for line in results.lines if line.mean_residual is not None and not line.degenerate]
    with _drawing(3.4) as (axes, done):
        for line in lines:
            _marker(axes, line, line.mean_residual or 0.0, line.delta)
        axes.axhline(0, color=_MUTED, linewidth=1)
        axes.margins(x=0.12, y=0.14)
        _name_outermost(axes, lines)
        axes.grid(axis="both")
        axes.set_xlim(left=-0.02 * axes.get_xlim()[1])  # room for a marker at 0
        axes.tick_params(axis="y", labelcolor=_MUTED)
        axes.set_xlabel("mean absolute difference of pixels (0 to 255)")
        axes.set_ylabel(f"Δ {METRICS[results.metric]}, points")
        return done("Difference in score against mean difference of pixels", lines)


def _name_outermost(axes: Axes, lines: Sequence[Line]) -> None:
    """Name the points that have room for it; every point has its name as a tooltip, and is in the table."""
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
            xytext=(6 * side, 5),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            va="center",
            fontsize=8.5,
            color=_MUTED,
        )


def steps(results: Results) -> str:
    """The metric as the stages are added, worst first."""
    chain = [("reference", results.reference)] + [
        (f"+ {step.method}", results.line(step.variant)) for step in results.steps
    ]
    values = [line.figures[results.metric] for _, line in chain]
    with _drawing(0.8 + 0.42 * len(chain)) as (axes, done):
        for place, (line, value) in enumerate(zip((line for _, line in chain), values, strict=True)):
            color = _MUTED if place == 0 else _STAGE_COLORS[results.steps[place - 1].stage]
            drawn = axes.barh([place], [value], height=0.55, color=color)
            drawn.patches[0].set_gid(f"variant {line.name}")
            axes.annotate(number(value), (value, place), xytext=(5, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(chain)), [name for name, _ in chain])
        axes.set_ylim(len(chain) - 0.5, -0.5)
        axes.set_xlim(0, max([*values, 1.0]) * 1.15)
        axes.set_xlabel(f"{METRICS[results.metric]}, percent")
        return done("The score as one stage after another is added, worst first", [line for _, line in chain])


Done = Callable[[str, Sequence[Line]], str]


@contextmanager
def _drawing(height: float) -> Iterator[tuple[Axes, Done]]:
    """Axes of a page's width and this height in inches, with what turns them into SVG."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")

        def done(label: str, lines: Sequence[Line]) -> str:
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
            return _themed(buffer.getvalue(), label, lines)

        yield figure.add_subplot(), done


def _themed(svg: str, label: str, lines: Sequence[Line]) -> str:
    """An SVG file's element, with CSS variables for colours, a label for screen readers and tooltips for markers."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"([^>]*?) width="[^"]*"', r"\1\2", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"([^>]*?) height="[^"]*"', r"\1\2", svg, count=1)
    svg = svg.replace("<svg", f'<svg class="chart" role="img" aria-label="{escape(label)}"', 1)
    for placeholder, name in _COLORS.items():
        svg = svg.replace(placeholder, f"var(--{name})")
    for line in lines:
        svg = svg.replace(f'<g id="variant {line.name}">', f"<g><title>{escape(_tooltip(line))}</title>")
    return re.sub(r'<g id="[^"]*">', "<g>", svg)  # every drawing has the same ids, and a page holds several


def _tooltip(line: Line) -> str:
    return f"{line.name}: Δ {signed(line.delta)}, 95% {interval(line)}, p (Holm) {p_value(line.p_holm)}"
