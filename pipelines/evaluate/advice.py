"""What to do about it: the cheapest method of each stage for a deployment that has only one library.

The reference's own method costs nothing, and counts if it belongs to the library. Whether the best method beats the
library's others by more than chance is tested pair by pair on the same images, and corrected for their number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from generators.draw import TOKENS
from generators.registry import PIXEL_STAGES, find
from generators.variant import NONE
from pipelines.evaluate.statistics import holm
from pipelines.evaluate.steps import Scored
from pipelines.evaluate.task import Score, Task


class Named(Scored, Protocol):
    """What advice needs of a variant's line."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class Advice:
    """A library's cheapest method for a stage; `delta` is in points.

    `others` are the library's other methods that were scored, and `alike` those that it does not beat by more than
    chance, at 5% corrected for their number.
    """

    library: str
    stage: str
    method: str
    delta: float
    others: tuple[str, ...]
    alike: tuple[str, ...]


def advise(lines: Sequence[Named], reference: Named, scores: Mapping[str, Score], task: Task) -> list[Advice]:
    """The advice for each library that was scored, by library and stage; the reference's own methods count too."""
    found: dict[str, list[Advice]] = defaultdict(list)
    for stage in PIXEL_STAGES:
        for library, members in _by_library(lines, reference, stage).items():
            found[library].append(_best(library, stage, members, scores, task))
    return [advice for library in found.values() for advice in library]


def _by_library(lines: Sequence[Named], reference: Named, stage: str) -> Mapping[str, dict[str, Named]]:
    """The reference and the lines that differ only at this stage, by library and token."""
    found: dict[str, dict[str, Named]] = defaultdict(dict)
    for line in (reference, *(line for line in lines if tuple(line.changed) == (stage,))):
        token = line.stages[stage]
        if token not in (NONE, *TOKENS.values()):  # draws belong to no library
            method = find(token)  # shards may have custom methods
            found[method.library.name if method else token][token] = line
    return found


def _best(library: str, stage: str, members: Mapping[str, Named], scores: Mapping[str, Score], task: Task) -> Advice:
    best = min(members, key=lambda token: members[token].delta)
    others = tuple(token for token in members if token != best)
    alike = tuple(_not_worse(members, best, others, scores, task))
    return Advice(library, stage, best, members[best].delta, others, alike)


def _not_worse(
    members: Mapping[str, Named], best: str, others: Sequence[str], scores: Mapping[str, Score], task: Task
) -> Iterator[str]:
    mine = scores[members[best].name]
    corrected = holm([task.between(mine, scores[members[token].name]).p for token in others])
    yield from (token for token, p in zip(others, corrected, strict=True) if p >= 0.05)
