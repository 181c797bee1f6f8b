"""How answers say what both kinds of matching have to say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from generators.registry import METHODS, PIXEL_STAGES, Release, find
from generators.variant import ALL, LIBRARY_GROUPS, changed
from pipelines.evaluate.match.rank import RESAMPLES

# What a device does at a stage before the model.
# Names in a cell of a table.
_NAMED = 3
_DOES = {
    "decode": "decodes",
    "resize": "resizes",
    "color": "converts colour",
    "resample": "resamples",
    "stft": "makes mels",
}
# Below this many images, resampling them says little.
FEW = 10


def sure(images: int, share: float, event: str, more: str = "") -> str:
    """How sure it is that an `event`, which is in a `share` of resamples, is no accident of the images."""
    if images == 1:
        return "How sure: one image cannot say: dump 10 or more."
    few = f" These are few images: dump {FEW} or more." if images < FEW else ""
    return (
        f"How sure: among the variants here, {event} in {percent(share)} of {RESAMPLES:,} resamples of the {images} "
        f"images{more}. A method that is not here could be nearer.{few}"
    )


def like(variants: Iterable[Mapping[str, str]], reference: Mapping[str, str]) -> str:
    """What variants do otherwise than the reference, whose tokens are given by stage, as a user of libraries would say
    it: `resizes like torchvision (bilinear, not antialiased)`. Several are those that cannot be told apart.
    """
    found: dict[str, dict[str, None]] = {}
    for stages in variants:
        for stage in changed(stages, reference):
            if stage in _DOES and (method := find(stages[stage])):
                how = f" ({method.how})" if method.how else ""
                found.setdefault(stage, {})[f"{method.library.name}{how}"] = None
    return " and ".join(f"{_DOES[stage]} like {either(list(libraries))}" for stage, libraries in found.items())


def more_of(stage: str | None, there: Iterable[Mapping[str, str]]) -> list[str]:
    """The words of `--variant` that make the methods of a stage (of all, without one) which no variant has that is
    there: first those that are installed, then the libraries that may have to be.
    """
    known = {token for variant in there for token in variant.values()}
    stages = [stage] if stage else PIXEL_STAGES
    lacking = [m for m in METHODS.values() if m.stage in stages and m.token not in known and not m.gpu]
    if any(not isinstance(method.library, Release) for method in lacking):
        return [stage or ALL]
    return [group for group in LIBRARY_GROUPS if any(method.library.group == group for method in lacking)]


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


def some_of(names: Sequence[str]) -> str:
    """Variants that are alike, for a table: the first of them, and how many more there are."""
    more = len(names) - _NAMED
    return " = ".join([*names[:_NAMED], *([f"{more} more"] if more > 0 else [])])
