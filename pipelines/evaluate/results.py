"""From scores to what they mean: Δ for each variant, mean and max for each stage, what all of it costs combined.

Owns the arithmetic of the report and nothing of its looks. All figures are percent or points of percent, and
Δ = reference − variant, so that a loss is positive.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from generators.registry import PIXEL_STAGES, STAGES
from pipelines.evaluate.advice import Advice, advise
from pipelines.evaluate.statistics import holm
from pipelines.evaluate.steps import Step, in_paper_order, worst_first, worst_of
from pipelines.evaluate.task import Score, Task
from pipelines.shards import Shards

COMBINED = "combined"


@dataclass(frozen=True)
class Line:
    """One variant in the table.

    `changed` are the stages at which it differs from the reference; `figures` are percent by name, the metric first;
    `ci95` in points; `degenerate` where its pixels are the reference's on every sample, and nothing but pixels is
    noised; `unchanged` where its predictions are; `lost_at` is int64 of shape (samples,); `basis` is its score's;
    `by_class` has the metric of each class in percent, where it is a mean over classes.
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
        """The stage that it belongs to in the paper's table; `combined` where it differs in several."""
        return stage_of(self.changed)

    @property
    def same(self) -> bool:
        """Whether it changes nothing: no pixel, or no prediction where the noise is in the model or behind it."""
        return self.degenerate or (self.unchanged and not set(self.changed) & set(PIXEL_STAGES))

    @property
    def significant(self) -> bool:
        """Whether the difference is real at 5%, corrected for the size of the table."""
        return self.p_holm < 0.05


class Staged(Protocol):
    """What is to be known of a line to sum up its stage."""

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
    """Δ over a stage's methods other than the reference's: the paper's *mean (max)*. `worst` is the max's method."""

    mean: float
    max: float
    worst: str
    methods: int


@dataclass(frozen=True)
class Results:
    """All that a report says.

    `steps` has the worst stage first, `paper_steps` is in the paper's order, and `combined` is the last of these, None
    while any is missing. `not_applicable` has the reason for each variant that has no score. `missing` are the variants
    that steps need predictions of, and `commands` make what these need. `doubt` says why no figure can be believed;
    it is empty where they can. `file` is the model's, where one was run.
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
    """What is known of variants that have no score: the reason by name, and the model's file for commands."""

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
    """Put the scores of all variants together, the reference's among them; `unchanged` have its predictions."""
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
    """What makes the shards and the models that these variants need and that are not there."""
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
        # The reference does not differ from itself, on any images.
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
                f"{line.name} has the reference's pixels, but other predictions ({line.lost:,} lost, {line.gained:,} "
                "gained): they are of something else, or the model is not deterministic."
            )


def nothing_changed(lines: Iterable[Staged]) -> Iterator[str]:
    """A note on each variant that changes something, and no prediction."""
    for line in lines:
        if line.unchanged and not line.degenerate:
            yield f"{line.name} changed nothing: every prediction is the reference's."


def stage_of(changed: Sequence[str]) -> str:
    """The stage of a variant that differs at these; `combined` where they are several."""
    return changed[0] if len(changed) == 1 else COMBINED


def summarise(lines: Iterable[Staged], stages: Iterable[str] = STAGES) -> dict[str, Stage]:
    """Mean and max of Δ for each stage that has a variant, in the order of `stages`."""
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


def as_json(results: Results) -> dict[str, Any]:
    """What `results.json` holds. Figures are percent, differences points of percent."""
    return {
        "model": results.model,
        "dataset": results.shards.dataset,
        "geometry": results.shards.reference.summary["geometry"],
        "reference": results.reference.name,
        "metric": results.metric,
        **({"iou_type": results.iou_type} if results.iou_type else {}),
        "unit": "percent",
        "n": len(results.keys),
        "left_out": results.left_out,
        "counted": results.counted,
        "variants": {line.name: _variant_json(line, results) for line in (results.reference, *results.lines)},
        "stages": {
            name: {"mean": stage.mean, "max": stage.max, "worst": stage.worst, "methods": stage.methods}
            for name, stage in results.stages.items()
        },
        "steps": [_step_json(step, results) for step in results.steps],
        "paper_steps": [_step_json(step, results) for step in results.paper_steps],
        "combined": results.combined and _combined_json(results.combined),
        "not_applicable": dict(results.not_applicable),
        "missing": {
            "variants": list(results.missing),
            "command": results.commands[0] if results.commands else None,
            "commands": list(results.commands),
        },
        "advice": [asdict(advice) for advice in results.advice],
        "same_pixels": [list(group) for group in results.alike],
        "notes": [*filter(None, [results.doubt]), *results.notes],
    }


def _step_json(step: Step, results: Results) -> dict[str, Any]:
    line = results.line(step.variant)
    figures = {results.metric: line.figures[results.metric], "delta": line.delta}
    return {"stage": step.stage, "method": step.method, "variant": step.variant, **figures}


def _combined_json(line: Line) -> dict[str, Any]:
    return {"variant": line.name, "delta": line.delta, "ci95": list(line.ci95), "p": line.p, "p_holm": line.p_holm}


def _variant_json(line: Line, results: Results) -> dict[str, Any]:
    return {
        "stages": dict(line.stages),
        "n": len(results.keys),
        **line.figures,
        **({"iou": dict(line.by_class)} if line.by_class else {}),
        "delta": line.delta,
        "ci95": list(line.ci95),
        "p": line.p,
        "p_holm": line.p_holm,
        "lost": line.lost,
        "gained": line.gained,
        "degenerate": line.degenerate,
        "unchanged": line.unchanged,
        "mean_residual": line.mean_residual,
    }
