"""How each stage looks wherever it is shown: its title, its marker, and its colours on light and dark pages.

Colours have a contrast of at least 4.5 on the page and its panels (WCAG 2 AA, for text), and the closest two stay
distinct with deuteranopia and protanopia. Markers do not rely on colour at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

# What takes the place of a stage for a variant that differs in several.
COMBINED = "combined"


class Look(NamedTuple):
    """A title, matplotlib's marker, the character that resembles it, and a colour each for light and dark pages."""

    title: str
    marker: str
    symbol: str
    light: str
    dark: str


# By stage, in order, and `combined` last.
LOOKS: Mapping[str, Look] = MappingProxyType(
    {
        "decode": Look("Decode", "o", "●", "#0964a8", "#59baf2"),
        "resize": Look("Resize", "s", "■", "#552b05", "#d5732d"),
        "color": Look("Colour", "^", "▲", "#257749", "#1e9f6b"),
        "pool": Look("Pooling", "v", "▼", "#620a5e", "#f63bb6"),
        "upsample": Look("Upsampling", ">", "►", "#617518", "#d9d111"),
        "precision": Look("Precision", "*", "★", "#333fdb", "#897afd"),
        "boxes": Look("Boxes", "P", "✚", "#736878", "#b0e2ad"),
        COMBINED: Look("Combined", "D", "◆", "#1d1c1e", "#e6f6fc"),
    }
)
# Stages of speech share looks with those of images, since no page has both.
LOOKS_OF_SPEECH: Mapping[str, Look] = MappingProxyType(
    {
        "resample": LOOKS["decode"]._replace(title="Resampling"),
        "stft": LOOKS["resize"]._replace(title="STFT operator"),
        "precision": LOOKS["precision"],
        COMBINED: LOOKS[COMBINED],
    }
)
ALL_LOOKS: Mapping[str, Look] = MappingProxyType({**LOOKS, **LOOKS_OF_SPEECH})
