"""Wording that the answers from pixels, outputs and mels share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from generators.registry import METHODS, PIXEL_STAGES, Release, find
from generators.variant import ALL, LIBRARY_GROUPS, changed
from pipelines.evaluate.match.rank import RESAMPLES
from pipelines.text import number_of

# How many names a note and a table's cell have.
_NAMED = 3
# The verb for what a device does at a stage.
_DOES = {
    "decode": "decodes",
    "resize": "resizes",
    "color": "converts colour",
    "resample": "resamples",
    "stft": "makes mels",
}
# Below this many images, a bootstrap means little.
FEW = 10


def sure(images: int, share: float, event: str, more: str = "") -> str:
    """How sure it is that an `event`, true in a `share` of resamples, does not depend on the choice of images."""
    if images == 1:
        return f"How sure: unknown from a single image: dump {FEW} or more."
    few = f" These are few images: dump {FEW} or more." if images < FEW else ""
    return (
        f"How sure: among these variants, {event} in {percent(share)} of {RESAMPLES:,} resamples of the {images} "
        f"images{more}. A method that is not among them could be nearer.{few}"
    )


def like(variants: Iterable[Mapping[str, str]], reference: Mapping[str, str]) -> str:
    """How variants differ from the reference, by their tokens at each stage, in terms of libraries: `resizes like
    torchvision (bilinear, not antialiased)`. Several variants are alternatives that cannot be distinguished.
    """
    found: dict[str, dict[str, None]] = {}
    for stages in variants:
        for stage in changed(stages, reference):
            if stage in _DOES and (method := find(stages[stage])):
                how = f" ({method.how})" if method.how else ""
                found.setdefault(stage, {})[f"{method.library.name}{how}"] = None
    return " and ".join(f"{_DOES[stage]} like {either(list(libraries))}" for stage, libraries in found.items())


def more_of(stage: str | None, existing: Iterable[Mapping[str, str]]) -> list[str]:
    """The words of `--variant` for the methods of a stage (None: of all stages) that no existing variant has: first
    those that are installed, then the groups of libraries that are installed on demand.
    """
    known = {token for variant in existing for token in variant.values()}
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


def skipped(names: Sequence[str], noun: str) -> str:
    """A note on parts of a dump that belong to no sample, by their names."""
    more = ", …" if len(names) > _NAMED else ""
    return f"skipped {number_of(len(names), noun)} not named by a key of the shards ({', '.join(names[:_NAMED])}{more})"


def percent(share: float) -> str:
    """A share as percent, 100% or 0% only if it is exactly that."""
    return f"{share:.0%}" if share in (0, 1) else f"{min(max(share, 0.001), 0.999):.1%}"


def some_of(names: Sequence[str]) -> str:
    """Names of equal variants for a table: the first few, and the number of others."""
    more = len(names) - _NAMED
    return " = ".join([*names[:_NAMED], *([f"{more} more"] if more > 0 else [])])
