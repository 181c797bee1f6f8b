"""All pairs of models on every variant that both have: which suffers more, with Holm's correction over all tests.

Variants with the reference's pixels in both are left out. The combined variant is each model's own worst case.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from numpy.typing import NDArray

from pipelines.evaluate.compare.paired import lost, of_hits, of_resamples
from pipelines.evaluate.compare.report import Line, Report
from pipelines.evaluate.outcomes import OUTCOMES
from pipelines.evaluate.statistics import Comparison, holm
from pipelines.style.stages import COMBINED


@dataclass(frozen=True)
class Pair:
    """How much more `variant` costs model `one` than model `other`, in points."""

    one: str
    other: str
    stage: str
    variant: str
    delta: float
    ci95: tuple[float, float]
    p: float
    p_holm: float

    @property
    def significant(self) -> bool:
        """Whether the difference is real at 5%, corrected for the number of comparisons."""
        return self.p_holm < 0.05


@dataclass(frozen=True)
class Pairs:
    """All comparisons, in order of models and variants, and notes on models without any."""

    found: Sequence[Pair]
    notes: Sequence[str]


def pairs_of(reports: Sequence[Report]) -> Pairs:
    """Compare all pairs of these models."""
    keeping = [report for report in reports if report.outcomes is not None]
    compared = [
        (one, other, name, mine, _compare(one, other, mine, theirs))
        for one, other in combinations(keeping, 2)
        if _drawn_alike(one, other)
        for name, mine, theirs in _both(one, other)
    ]
    adjusted = holm([comparison.p for *_, comparison in compared])
    found = [
        Pair(
            one=one.name,
            other=other.name,
            stage=mine.changed[0] if len(mine.changed) == 1 else COMBINED,
            variant=name,
            delta=100 * comparison.delta,
            ci95=(100 * comparison.low, 100 * comparison.high),
            p=comparison.p,
            p_holm=p_holm,
        )
        for (one, other, name, mine, comparison), p_holm in zip(compared, adjusted, strict=True)
    ]
    return Pairs(found, list(_notes(reports, keeping)) if len(reports) > 1 else [])


def _notes(reports: Sequence[Report], keeping: Sequence[Report]) -> Iterator[str]:
    for report in reports:
        if report not in keeping:
            yield f"{report.name} has no {OUTCOMES}, and is in no paired test: score it again."
    for one, other in combinations(keeping, 2):
        if not _drawn_alike(one, other):
            yield f"{one.name} and {other.name} differ in --seed, and are in no paired test together."


def _drawn_alike(one: Report, other: Report) -> bool:
    seeds = {report.raw.get("scored_with", {}).get("seed") for report in (one, other)}
    return len(seeds) == 1


def _both(one: Report, other: Report) -> Iterator[tuple[str, Line, Line]]:
    for name, mine in one.lines.items():
        theirs = other.lines.get(name)
        if theirs is not None and len(mine.changed) == 1 and not (mine.degenerate and theirs.degenerate):
            yield name, mine, theirs
    if one.combined and other.combined:
        yield COMBINED, one.combined, other.combined


def _compare(one: Report, other: Report, mine: Line, theirs: Line) -> Comparison:
    cost, their_cost = _outcomes(one, mine), _outcomes(other, theirs)
    if cost[0].dtype == bool:
        return of_hits(lost(*cost), lost(*their_cost))
    return of_resamples((mine.delta - theirs.delta) / 100, cost, their_cost)


def _outcomes(report: Report, line: Line) -> tuple[NDArray[Any], NDArray[Any]]:
    """The outcomes of the reference and of a variant."""
    assert report.outcomes is not None  # reports without outcomes are not compared
    return report.outcomes.variants[report.reference.name], report.outcomes.variants[line.name]
