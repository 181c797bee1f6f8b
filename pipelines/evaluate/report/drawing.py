"""Turns matplotlib drawings into inline SVG with tooltips, in colours that the page's style sheet sets.

Colours here are placeholders that become CSS variables, so that one drawing serves light and dark pages.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.style.stages import ALL_LOOKS

# The placeholder for each CSS variable; nothing is drawn in another colour.
COLORS: Mapping[str, str] = MappingProxyType(
    {
        name: f"#{place:02x}{place:02x}{place:02x}"
        for place, name in enumerate(("ink", "muted", "grid", "paper", *ALL_LOOKS), start=1)
    }
)
INK, MUTED, GRID, PAPER = (COLORS[name] for name in ("ink", "muted", "grid", "paper"))
# Inches: narrow, so that text is readable on a phone.
WIDTH = 5.2

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sysnoise",  # reproducible ids: the same drawing gives the same bytes
    "font.size": 10.5,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "ytick.left": False,
    "xtick.bottom": False,
    "axes.unicode_minus": True,
}


# Makes the SVG, from a label for screen readers and tooltips by the ids of their elements.
Done = Callable[[str, Mapping[str, str]], str]


@contextmanager
def drawing(height: float, width: float = WIDTH) -> Iterator[tuple[Axes, Done]]:
    """Axes of this size in inches, and the function that turns them into SVG."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")

        def done(label: str, tooltips: Mapping[str, str]) -> str:
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
            return _themed(buffer.getvalue(), label, tooltips)

        yield figure.add_subplot(), done


def _themed(svg: str, label: str, tooltips: Mapping[str, str]) -> str:
    """The element of an SVG file, with CSS variables for colours, a label for screen readers and tooltips."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"([^>]*?) width="[^"]*"', r"\1\2", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"([^>]*?) height="[^"]*"', r"\1\2", svg, count=1)
    svg = svg.replace("<svg", f'<svg class="chart" role="img" aria-label="{escape(label)}"', 1)
    for name, placeholder in COLORS.items():
        svg = svg.replace(placeholder, f"var(--{name})")

    def titled(match: re.Match[str]) -> str:
        # Ids are dropped: a page has several drawings, which share them.
        return f"<g><title>{escape(tooltips[match[1]])}</title>" if match[1] in tooltips else "<g>"

    return re.sub(r'<g id="([^"]*)">', titled, svg)
