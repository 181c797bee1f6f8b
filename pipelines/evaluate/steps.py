"""The worst case, step by step, in the order of the paper's Figure 3 and in the order in which stages hurt most.

Each stage contributes the single method that hurts most; a stage whose methods change nothing is left out. Only scores
are needed, and variants that lack one are named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from generators.registry import STAGES
from generators.variant import added, is_whole, name_of

# Figure 3 of the paper: decode, resize, colour, INT8, ceil mode, upsampling, post-processing.
PAPER_ORDER = ("decode", "resize", "color", "precision", "pool", "upsample", "boxes")
# Its method for precision, if that was scored; otherwise the worst method is taken.
_PAPER_PRECISION = "int8"


class Costing(Protocol):
    """What a variant costs, and whether it changes nothing."""

    @property
    def delta(self) -> float: ...
    @property
    def same(self) -> bool: ...


class Scored(Costing, Protocol):
    """The parts of a variant's line that steps need: its methods, where it differs, and what it costs."""

    @property
    def stages(self) -> Mapping[str, str]: ...
    @property
    def changed(self) -> Sequence[str]: ...


S = TypeVar("S", bound=Costing)


@dataclass(frozen=True)
class Step:
    """One step: the stage that is added, its method, and the name of the resulting variant."""

    stage: str
    method: str
    variant: str


@dataclass(frozen=True)
class Chain:
    """Steps that build on each other; `missing` are the variants whose scores the next steps need."""

    steps: Sequence[Step]
    missing: Sequence[str]


def worst_of(lines: Iterable[S]) -> S | None:
    """The line that hurts most; among equals, the first that changes something, or else the first."""
    return max(lines, key=lambda line: (line.delta, not line.same), default=None)


def worst_methods(lines: Sequence[Scored]) -> dict[str, str]:
    """The single method that hurts most, for each stage with a method that changes anything, in order of stages.

    If the resize method also decodes, decode has none.
    """
    found: dict[str, str] = {}
    for stage in STAGES:
        worst = worst_of(line for line in lines if tuple(line.changed) == (stage,) and not line.same)
        if worst is not None:
            found[stage] = worst.stages[stage]
            if stage == "resize" and is_whole(worst.stages):
                found.pop("decode", None)
    return found


def in_paper_order(lines: Sequence[Scored], reference: Mapping[str, str]) -> Chain:
    """The paper's chain: each stage's worst method added to the previous ones, in the paper's order."""
    worst = worst_methods(lines)
    if any(tuple(line.changed) == ("precision",) and line.stages["precision"] == _PAPER_PRECISION for line in lines):
        worst["precision"] = _PAPER_PRECISION
    scored = {name_of(line.stages, reference) for line in lines}
    current, steps = dict(reference), list[Step]()
    for stage in PAPER_ORDER:
        if stage in worst:
            current = added(current, stage, worst[stage])
            steps.append(Step(stage, worst[stage], name_of(current, reference)))
    lacking = [step.variant for step in steps if step.variant not in scored]
    whole = next((index for index, step in enumerate(steps) if step.variant in lacking), len(steps))
    return Chain(steps[:whole], lacking)


def worst_first(lines: Sequence[Scored], reference: Mapping[str, str]) -> Chain:
    """The greedy chain: each step adds the stage that hurts most then, and needs the scores of all candidates."""
    by_name = {name_of(line.stages, reference): line for line in lines}
    worst = worst_methods(lines)
    current, steps, left = dict(reference), list[Step](), list(worst)
    while left:
        names = {stage: name_of(added(current, stage, worst[stage]), reference) for stage in left}
        lacking = [name for name in names.values() if name not in by_name]
        if lacking:
            return Chain(steps, lacking)
        stage = max(left, key=lambda stage: by_name[names[stage]].delta)
        steps.append(Step(stage, worst[stage], names[stage]))
        current = added(current, stage, worst[stage])
        left.remove(stage)
    return Chain(steps, [])
