"""From scores to what they mean: Δ for each variant, mean and max for each stage, and the step-by-step worst case.

Owns the arithmetic of the report and nothing of its looks. All figures are percent or points of percent, and
Δ = reference − variant, so that a loss is positive.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generators.registry import STAGES
from pipelines.evaluate.shards import Shards
from pipelines.evaluate.statistics import holm
from pipelines.evaluate.task import Score, Task

COMBINED = "combined"


@dataclass(frozen=True)
class Line:
    """One variant in the table.

    `changed` are the stages at which it differs from the reference; `figures` are percent by name, the metric first;
    `ci95` in points; `degenerate` where its pixels are the reference's on every sample; `lost_at` is int64 of shape
    (samples,).
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
    mean_residual: float | None
    lost_at: NDArray[np.int64]

    @property
    def stage(self) -> str:
        """The stage that it belongs to in the paper's table: `decode`, `resize`, `color` or `combined`."""
        return self.changed[0] if len(self.changed) == 1 else COMBINED

    @property
    def significant(self) -> bool:
        """Whether the difference is real at 5%, corrected for the size of the table."""
        return self.p_holm < 0.05


@dataclass(frozen=True)
class Stage:
    """Δ over a stage's methods other than the reference's: the paper's *mean (max)*; `worst` is the method of the max.

    For `combined`, over the variants that change several stages.
    """

    mean: float
    max: float
    worst: str
    methods: int


@dataclass(frozen=True)
class Step:
    """One step of the worst case: the stage that was added, its method, and the variant that this makes."""

    stage: str
    method: str
    line: Line


@dataclass(frozen=True)
class Results:
    """All that a report says. `missing` are the variants that the next step needs predictions of."""

    model: str
    shards: Shards
    metric: str
    counted: str
    keys: Sequence[str]
    left_out: int
    reference: Line
    lines: Sequence[Line]
    stages: Mapping[str, Stage]
    steps: Sequence[Step]
    missing: Sequence[str]
    alike: Sequence[Sequence[str]]
    notes: Sequence[str]


def compare(model: str, shards: Shards, task: Task, scores: Mapping[str, Score], notes: Iterable[str]) -> Results:
    """Put the scores of all variants together, the reference's among them."""
    base = shards.reference.name
    others = [name for name in scores if name != base]
    corrected = dict(zip(others, holm([scores[name].comparison.p for name in others]), strict=True))
    lines = [_line(shards, name, scores[name], corrected[name]) for name in others]
    reference = _line(shards, base, scores[base], 1.0)
    steps, missing = worst_case(lines, reference)
    return Results(
        model=model,
        shards=shards,
        metric=task.metric,
        counted=task.counted,
        keys=task.keys,
        left_out=shards.reference.table("key").num_rows - len(task.keys),
        reference=reference,
        lines=lines,
        stages=summarise(lines),
        steps=steps,
        missing=missing,
        alike=_alike(shards, scores),
        notes=[*notes, *(note for score in scores.values() for note in score.notes), *_contradictions(lines)],
    )


def _line(shards: Shards, name: str, score: Score, p_holm: float) -> Line:
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
        degenerate=not is_reference and bool(variant.summary["residual"]["degenerate"]),
        mean_residual=variant.mean_residual,
        lost_at=score.lost,
    )


def _contradictions(lines: Iterable[Line]) -> Iterator[str]:
    for line in lines:
        if line.degenerate and (line.lost or line.gained or line.delta):
            yield (
                f"{line.name} has the reference's pixels, but other predictions ({line.lost:,} lost, {line.gained:,} "
                "gained): they are of something else, or the model is not deterministic"
            )


def summarise(lines: Iterable[Line]) -> dict[str, Stage]:
    """Mean and max of Δ for each stage that has a variant, in order, `combined` last."""
    by_stage: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        by_stage[line.stage].append(line)
    found = {}
    for stage in (*STAGES, COMBINED):
        if members := by_stage[stage]:
            worst = max(members, key=_hurts)
            mean = sum(line.delta for line in members) / len(members)
            found[stage] = Stage(mean, worst.delta, worst.name, len(members))
    return found


def _hurts(line: Line) -> tuple[float, bool]:
    """What the worst of a stage is chosen by; of equals, one that changes pixels."""
    return line.delta, not line.degenerate


def worst_case(lines: Sequence[Line], reference: Line) -> tuple[list[Step], list[str]]:
    """The paper's Fig. 3: start from the reference, and add at each step the stage that hurts most.

    Each stage is taken with the method that hurts most alone; one whose methods change no pixel is left out. Also gives
    the variants without which the next step cannot be chosen.
    """
    by_methods = {tuple(line.stages[stage] for stage in STAGES): line for line in lines}
    worst = {
        stage: max(members, key=_hurts).stages[stage]
        for stage in STAGES
        if (members := [line for line in lines if line.stage == stage and not line.degenerate])
    }
    current, steps = dict(reference.stages), list[Step]()
    left = list(worst)
    while left:
        wanted = {stage: {**current, stage: worst[stage]} for stage in left}
        found = {stage: by_methods.get(tuple(methods[s] for s in STAGES)) for stage, methods in wanted.items()}
        missing = [_name(wanted[stage], reference.stages) for stage, line in found.items() if line is None]
        if missing:
            return steps, missing
        stage, line = max(((s, line) for s, line in found.items() if line), key=lambda pair: pair[1].delta)
        steps.append(Step(stage, worst[stage], line))
        current[stage] = worst[stage]
        left.remove(stage)
    return steps, []


def _name(methods: Mapping[str, str], reference: Mapping[str, str]) -> str:
    return "+".join(methods[stage] for stage in STAGES if methods[stage] != reference[stage])


def _alike(shards: Shards, names: Iterable[str]) -> list[list[str]]:
    """The groups of variants with the same pixels on every sample."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[shards.variants[name].pixels_sha256].append(name)
    return [group for group in groups.values() if len(group) > 1]


def as_json(results: Results) -> dict[str, Any]:
    """What `results.json` holds. Figures are percent, differences points of percent."""
    command = results.shards.command(results.missing) if results.missing else None
    return {
        "model": results.model,
        "dataset": results.shards.dataset,
        "geometry": results.shards.reference.summary["geometry"],
        "reference": results.reference.name,
        "metric": results.metric,
        "unit": "percent",
        "n": len(results.keys),
        "left_out": results.left_out,
        "counted": results.counted,
        "variants": {line.name: _variant_json(line, results) for line in (results.reference, *results.lines)},
        "stages": {
            name: {"mean": stage.mean, "max": stage.max, "worst": stage.worst, "methods": stage.methods}
            for name, stage in results.stages.items()
        },
        "steps": [
            {
                "stage": step.stage,
                "method": step.method,
                "variant": step.line.name,
                results.metric: step.line.figures[results.metric],
                "delta": step.line.delta,
            }
            for step in results.steps
        ],
        "missing": {"variants": list(results.missing), "command": command},
        "same_pixels": [list(group) for group in results.alike],
        "notes": list(results.notes),
    }


def _variant_json(line: Line, results: Results) -> dict[str, Any]:
    return {
        "stages": dict(line.stages),
        "n": len(results.keys),
        **line.figures,
        "delta": line.delta,
        "ci95": list(line.ci95),
        "p": line.p,
        "p_holm": line.p_holm,
        "lost": line.lost,
        "gained": line.gained,
        "degenerate": line.degenerate,
        "mean_residual": line.mean_residual,
    }
