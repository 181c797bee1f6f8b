"""From scores to results: Δ for each variant, mean and max for each stage, and the cost of everything combined.

Owns the report's arithmetic, not its looks. All figures are in percent or percentage points, and Δ = reference −
variant, so that a loss is positive.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from generators.registry import PIXEL_STAGES, STAGES
from pipelines.evaluate.advice import Advice, advise
from pipelines.evaluate.statistics import holm
from pipelines.evaluate.steps import Step, in_paper_order, worst_first, worst_of
from pipelines.evaluate.task import Score, Task
from pipelines.shards import Shards
from pipelines.style.stages import COMBINED


@dataclass(frozen=True)
class Line:
    """One variant in the table.

    `changed` are the stages at which it differs from the reference; `figures` are in percent by name, the metric first;
    `ci95` is in points. It is `degenerate` if only its pixels are noised and they equal the reference's in every
    sample, and `unchanged` if its predictions equal the reference's. `lost_at` is int64 of shape (samples,); `basis` is
    its score's; `by_class` has each class's metric in percent if the metric is a mean over classes, or is empty.
    """

    name: str
    stages: Mapping[str, str]
    changed: tuple[str, ...]
    figures: Mapping[str, float]
    delta: float
    ci95: tuple[float, float]
    p: float
    p_holm: float
    lost: int
    gained: int
    degenerate: bool
    unchanged: bool
    mean_residual: float | None
    lost_at: NDArray[np.int64]
    basis: NDArray[Any]
    by_class: Mapping[str, float] = field(default_factory=dict)

    @property
    def stage(self) -> str:
        """Its stage in the paper's table; `combined` if it differs at several."""
        return stage_of(self.changed)

    @property
    def same(self) -> bool:
        """Whether it changes nothing: no pixel, or, with noise only in the model or its output, no prediction."""
        return self.degenerate or (self.unchanged and not set(self.changed) & set(PIXEL_STAGES))

    @property
    def significant(self) -> bool:
        """Whether the difference is real at 5%, corrected for the size of the table."""
        return self.p_holm < 0.05


class Staged(Protocol):
    """What a stage's summary needs of a line."""

    @property
    def name(self) -> str: ...
    @property
    def stage(self) -> str: ...
    @property
    def delta(self) -> float: ...
    @property
    def same(self) -> bool: ...
    @property
    def degenerate(self) -> bool: ...
    @property
    def unchanged(self) -> bool: ...


@dataclass(frozen=True)
class Stage:
    """Δ over a stage's methods without the reference's: the paper's *mean (max)*. `worst` is the max's variant."""

    mean: float
    max: float
    worst: str
    methods: int


@dataclass(frozen=True)
class Results:
    """Everything that a report shows.

    `steps` has the worst stage first, `paper_steps` follows the paper's order, and `combined` is the last of the
    paper's steps, or None while any is missing. `not_applicable` has the reason why a variant has no score, by name.
    `missing` are the variants that the steps lack predictions of, and `commands` make what those need. `doubt` says
    why no figure can be trusted, and is empty if they can. `file` is the model's path, or None if predictions were
    scored.
    """

    model: str
    shards: Shards
    metric: str
    iou_type: str | None
    counted: str
    keys: Sequence[str]
    left_out: int
    reference: Line
    lines: Sequence[Line]
    stages: Mapping[str, Stage]
    steps: Sequence[Step]
    paper_steps: Sequence[Step]
    combined: Line | None
    not_applicable: Mapping[str, str]
    missing: Sequence[str]
    commands: Sequence[str]
    advice: Sequence[Advice]
    alike: Sequence[Sequence[str]]
    notes: Sequence[str]
    doubt: str
    file: str | None

    def line(self, name: str) -> Line:
        """A variant's line."""
        return next(line for line in (self.reference, *self.lines) if line.name == name)


@dataclass(frozen=True)
class Unscored:
    """The variants without a score: the reason by name, and the model's file for commands."""

    reasons: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None


def compare(
    model: str,
    shards: Shards,
    task: Task,
    scores: Mapping[str, Score],
    unscored: Unscored,
    unchanged: Collection[str],
    notes: Iterable[str],
) -> Results:
    """Results from the scores of all variants, the reference included; `unchanged` have the reference's predictions."""
    base = shards.reference.name
    others = [name for name in scores if name != base]
    corrected = dict(zip(others, holm([scores[name].comparison.p for name in others]), strict=True))
    lines = [_line(shards, name, scores[name], corrected[name], name in unchanged) for name in others]
    reference = _line(shards, base, scores[base], 1.0, False)
    paper, greedy = in_paper_order(lines, reference.stages), worst_first(lines, reference.stages)
    missing = [n for n in dict.fromkeys([*paper.missing, *greedy.missing]) if n not in unscored.reasons]
    whole = paper.steps and not paper.missing
    return Results(
        model=model,
        shards=shards,
        metric=task.metric,
        iou_type=task.iou_type,
        counted=task.counted,
        keys=task.keys,
        left_out=shards.reference.table("key").num_rows - len(task.keys),
        reference=reference,
        lines=lines,
        stages=summarise(lines),
        steps=greedy.steps,
        paper_steps=paper.steps,
        combined=next(line for line in lines if line.name == paper.steps[-1].variant) if whole else None,
        not_applicable=dict(unscored.reasons),
        missing=missing,
        commands=_commands(shards, missing, unscored.model),
        advice=advise(lines, reference, scores, task),
        alike=_alike(shards, scores),
        notes=[
            *notes,
            *(note for score in scores.values() for note in score.notes),
            *_contradictions(lines),
            *nothing_changed(lines),
        ],
        doubt=scores[base].doubt,
        file=unscored.model,
    )


def _commands(shards: Shards, missing: Sequence[str], model: str | None) -> list[str]:
    """The commands that make the shards and models which these variants need and which are missing."""
    variants = [shards.variant(name) for name in missing]
    pixels = [variant.pixels for variant in variants if variant.pixels not in shards.variants]
    models = ["+".join(method.token for method in variant.model) for variant in variants if variant.model]
    found = [shards.command(list(dict.fromkeys(pixels)))] if pixels else []
    if models:
        words = ["--model", shlex.quote(model) if model else "…", "--variant", ",".join(dict.fromkeys(models))]
        found.append(" ".join(["generate.py", *words, "--output", shlex.quote(shards.root.parent.address)]))
    return found


def _line(shards: Shards, name: str, score: Score, p_holm: float, unchanged: bool) -> Line:
    variant = shards.variants[name]
    compared = score.comparison
    is_reference = variant is shards.reference
    return Line(
        name=name,
        stages=variant.stages,
        changed=shards.changed_stages(name),
        figures={figure: 100 * share for figure, share in score.figures.items()},
        delta=100 * compared.delta,
        # The reference never differs from itself.
        ci95=(0.0, 0.0) if is_reference else (100 * compared.low, 100 * compared.high),
        p=compared.p,
        p_holm=p_holm,
        lost=int(score.lost.sum()),
        gained=score.gained,
        degenerate=not is_reference and not variant.noise and bool(variant.summary["residual"]["degenerate"]),
        unchanged=unchanged,
        mean_residual=variant.mean_residual,
        lost_at=score.lost,
        basis=score.basis,
        by_class={name: 100 * share for name, share in score.by_class.items()},
    )


def _contradictions(lines: Iterable[Line]) -> Iterator[str]:
    for line in lines:
        if line.degenerate and (line.lost or line.gained or line.delta):
            yield (
                f"{line.name} has the reference's pixels, but different predictions ({line.lost:,} lost, "
                f"{line.gained:,} gained): they were made from something else, or the model is not deterministic."
            )


def nothing_changed(lines: Iterable[Staged]) -> Iterator[str]:
    """A note on each variant that changes the pixels or the model, but no prediction."""
    for line in lines:
        if line.unchanged and not line.degenerate:
            yield f"{line.name} changed nothing: every prediction equals the reference's."


def stage_of(changed: Sequence[str]) -> str:
    """The stage of a variant that differs at these stages; `combined` if there are several."""
    return changed[0] if len(changed) == 1 else COMBINED


def summarise(lines: Iterable[Staged], stages: Iterable[str] = STAGES) -> dict[str, Stage]:
    """Mean and max of Δ for each stage with a variant, in the order of `stages`."""
    by_stage: dict[str, list[Staged]] = defaultdict(list)
    for line in lines:
        by_stage[line.stage].append(line)
    found: dict[str, Stage] = {}
    for stage in stages:
        if members := by_stage[stage]:
            worst = worst_of(members)
            assert worst is not None
            mean = sum(line.delta for line in members) / len(members)
            found[stage] = Stage(mean, worst.delta, worst.name, len(members))
    return found


def _alike(shards: Shards, names: Iterable[str]) -> list[list[str]]:
    """The groups of variants with the same pixels on every sample."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if not shards.variants[name].noise:
            groups[shards.variants[name].pixels_sha256].append(name)
    return [group for group in groups.values() if len(group) > 1]
