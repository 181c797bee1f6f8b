"""How answers say what both kinds of matching have to say."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.evaluate.match.rank import RESAMPLES

# Below this many images, resampling them says little.
_FEW = 10


def sure(images: int, share: float, event: str, more: str = "") -> str:
    """How sure it is that an `event`, which is in a `share` of resamples, is no accident of the images."""
    if images == 1:
        return "How sure: one image cannot say: dump 10 or more."
    few = f" These are few images: dump {_FEW} or more." if images < _FEW else ""
    return (
        f"How sure: among the variants here, {event} in {percent(share)} of {RESAMPLES:,} resamples of the {images} "
        f"images{more}. A method that is not here could be nearer.{few}"
    )


def listed(names: Sequence[str]) -> str:
    """Names as `a`, `b` and `c`."""
    *most, last = [f"`{name}`" for name in names]
    return f"{', '.join(most)} and {last}" if most else last


def either(names: Sequence[str]) -> str:
    """Names as a, b or c."""
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def counted(images: int) -> str:
    """A number of images in words."""
    return f"{images:,} image{'s' if images != 1 else ''}"


def percent(share: float) -> str:
    """A share as percent that says 100% or 0% only where it is all or nothing."""
    return f"{share:.0%}" if share in (0, 1) else f"{min(max(share, 0.001), 0.999):.1%}"
