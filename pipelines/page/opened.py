"""A set as its page shows it: its finished variants by stage, with identical ones grouped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from generators.registry import AUDIO_STAGES, PIXEL_STAGES
from generators.variant import changed, in_full
from pipelines.page.measure import Measure, measure_for
from pipelines.shards import FinishedVariant, Shards
from pipelines.shards.variant import place_among
from pipelines.style.stages import COMBINED

# The most names that fit in a line.
_MOST_NAMES = 3


@dataclass(frozen=True)
class Group:
    """Variants that have the same result for every sample; `variant` stands for all of them."""

    variant: FinishedVariant
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def label(self) -> str:
        """All names, or the first of them."""
        if len(self.names) <= _MOST_NAMES:
            return " = ".join(self.names)
        return f"{self.name} and {len(self.names) - 1} alike"


@dataclass(frozen=True)
class OpenedSet:
    """A set's finished variants, the reference first if it is among them, then by stage."""

    shards: Shards
    variants: tuple[FinishedVariant, ...]

    @property
    def measure(self) -> Measure:
        return measure_for(self.shards.dataset)

    @cached_property
    def _base(self) -> Mapping[str, str]:
        return self.shards.base.spelled_out

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The variants in the same order, with identical ones grouped."""
        alike: dict[str, list[FinishedVariant]] = defaultdict(list)
        for variant in self.variants:
            alike[variant.pixels_sha256].append(variant)
        return tuple(Group(some[0], tuple(variant.name for variant in some)) for some in alike.values())

    @cached_property
    def reference(self) -> Group | None:
        """The group that the reference is in; None if the reference is not in the set."""
        for group in self.groups:
            if in_full(group.variant.stages) == self.shards.config["reference"]:
                return group
        return None

    def group_of(self, name: str) -> Group:
        return next(group for group in self.groups if name in group.names)

    def twins(self, variant: FinishedVariant) -> tuple[str, ...]:
        """The variants with the same samples: for the first of a group all others, for these only the first."""
        first, *others = self.group_of(variant.name).names
        return tuple(others) if variant.name == first else (first,)

    def stage(self, variant: FinishedVariant) -> str:
        """The stage at which a variant differs from the reference, `combined` for several; empty for the reference."""
        found = changed(variant.stages, self._base)
        return found[0] if len(found) == 1 else COMBINED if found else ""

    def by_stage(self) -> Iterator[tuple[str, list[FinishedVariant]]]:
        """The variants besides the reference, by stage."""
        for stage in (*PIXEL_STAGES, *AUDIO_STAGES, COMBINED):
            if some := [variant for variant in self.variants if self.stage(variant) == stage]:
                yield stage, some


def opened(shards: Shards) -> OpenedSet:
    """A set's finished variants in the page's order."""
    base = shards.base.spelled_out
    return OpenedSet(shards, tuple(sorted(shards.variants.values(), key=lambda variant: place_among(variant, base))))
