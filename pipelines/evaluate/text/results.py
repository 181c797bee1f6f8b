"""From answers to what they mean: what each variant costs on each task, and whether that is more than chance.

Owns the arithmetic of the report and nothing of its looks. Accuracies are percent and their differences points,
Δ = reference − variant; of a perplexity, which is better where it is lower, Δ = variant − reference: a loss is always
positive. Refuses answers to other questions than the reference's.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluate.statistics import (
    Bootstrap,
    Comparison,
    holm,
    paired_bootstrap,
    paired_proportions,
    share_interval,
)
from pipelines.evaluate.text.answers import Answers
from pipelines.evaluate.text.question import Questions

# What the model as it is is called: Table 5 of the paper has it so.
REFERENCE = "fp32"
PERPLEXITY = "perplexity"
# The natural logarithm of the largest perplexity that is told, as in answers.
_MOST = math.log(sys.float_info.max)

Hits = NDArray[np.bool_]


@dataclass(frozen=True)
class Line:
    """What one variant has of a figure, against the reference.

    `lost` and `gained` count the questions that are right in the reference alone and in the variant alone; None of a
    perplexity, which no question has right. `degenerate` where every likelihood is the reference's, bit for bit.
    """

    name: str
    value: float
    delta: float
    ci95: tuple[float, float]
    p: float
    p_holm: float
    lost: int | None
    gained: int | None
    degenerate: bool
    stage: str = "precision"

    @property
    def significant(self) -> bool:
        """Whether the difference is real at 5%, corrected for all that is compared."""
        return self.p_holm < 0.05


@dataclass(frozen=True)
class Figure:
    """One figure of a task, `acc`, `acc_norm` or `perplexity`: the reference's value, and the variants' beside it.

    `ci95` is the interval of the reference's share itself, and `chance` the share that guessing has right, both in
    percent; None where there is no guessing.
    """

    name: str
    reference: float
    lines: Sequence[Line]
    ci95: tuple[float, float] | None = None
    chance: float | None = None

    @property
    def at_chance(self) -> bool:
        """Whether nothing shows that the reference does better than guessing."""
        return self.chance is not None and self.ci95 is not None and self.ci95[0] <= self.chance

    def line(self, variant: str) -> Line | None:
        """A variant's line, where it has one."""
        return next((line for line in self.lines if line.name == variant), None)


class Flip(NamedTuple):
    """A question whose answer flipped: what was chosen, right or wrong, by the reference and by each variant."""

    key: str
    right: Mapping[str, bool]
    chosen: Mapping[str, int]


@dataclass(frozen=True)
class TaskResults:
    """A task: its questions, its figures, `acc` first, and the questions that flipped, the worst first."""

    questions: Questions
    figures: Sequence[Figure]
    flips: Sequence[Flip]

    @property
    def name(self) -> str:
        return self.questions.task

    @property
    def count(self) -> int:
        return len(self.questions.asked)


@dataclass(frozen=True)
class Results:
    """All that a report says.

    `variants` are those that were scored, without the reference, and `not_applicable` has the reason for each that was
    not. `made_by` is what decides the answers: digests and versions, by what they are of.
    """

    model: str
    variants: Sequence[str]
    tasks: Sequence[TaskResults]
    not_applicable: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    made_by: Mapping[str, str] = field(default_factory=dict)


class Asked(NamedTuple):
    """A task's questions, and the answers of the reference and of each variant, by name, to all or some of them."""

    questions: Questions
    answers: Mapping[str, Answers]


def compare(model: str, asked: Sequence[Asked], bootstrap: Bootstrap) -> Results:
    """Put the answers of all tasks together; p-values are corrected for all that is compared."""
    tasks = [
        TaskResults(
            one.questions.only(one.answers[REFERENCE].keys),
            list(_figures(one.answers, bootstrap)),
            list(_flips(one.answers)),
        )
        for one in asked
    ]
    corrected = iter(holm([line.p for task in tasks for figure in task.figures for line in figure.lines]))
    tasks = [
        replace(
            task,
            figures=[
                replace(figure, lines=[replace(line, p_holm=next(corrected)) for line in figure.lines])
                for figure in task.figures
            ],
        )
        for task in tasks
    ]
    variants = list(dict.fromkeys(name for one in asked for name in one.answers if name != REFERENCE))
    return Results(model, variants, tasks)


def _figures(answers: Mapping[str, Answers], bootstrap: Bootstrap) -> Iterator[Figure]:
    """The figures of a task that its answers have."""
    base = answers[REFERENCE]
    for own in answers.values():
        if own.keys != base.keys:
            raise ValueError("answers to other questions than the reference's cannot be compared")
    yield _shares("acc", {name: own.acc for name, own in answers.items()}, answers)
    if base.acc_norm is not None:
        yield _shares("acc_norm", {n: own.acc_norm for n, own in answers.items() if own.acc_norm is not None}, answers)
    if base.perplexity is not None:
        yield _perplexity(answers, bootstrap)


def _shares(name: str, hits: Mapping[str, Hits], answers: Mapping[str, Answers]) -> Figure:
    base = answers[REFERENCE]
    theirs = hits[REFERENCE]
    count = len(theirs)
    choices = np.array([len(row) for row in base.loglikelihoods])
    low, high = share_interval(int(theirs.sum()), count)
    lines = []
    for variant, own in hits.items():
        if variant != REFERENCE:
            lost, gained = int((theirs & ~own).sum()), int((own & ~theirs).sum())
            compared = _in_percent(paired_proportions(lost, gained, count))
            same = _same(answers[variant], base)
            lines.append(_line(variant, 100 * float(own.mean()), compared, (lost, gained), same))
    return Figure(
        name,
        100 * float(theirs.mean()),
        lines,
        (100 * low, 100 * high),
        100 * float((1 / choices).mean()) if choices.min() > 1 else None,
    )


def _in_percent(shares: Comparison) -> Comparison:
    return Comparison(100 * shares.delta, 100 * shares.low, 100 * shares.high, shares.p)


def _perplexity(answers: Mapping[str, Answers], bootstrap: Bootstrap) -> Figure:
    """The perplexity of each question's one continuation, with a paired bootstrap over questions."""
    base = answers[REFERENCE]
    theirs = _logs(base)
    count = len(theirs)
    lines = []
    for name, own in answers.items():
        if name != REFERENCE:
            both = np.stack([theirs, _logs(own)], axis=1)
            value, other = _perplexities(both, np.ones((1, count)))[0]
            compared = paired_bootstrap(float(other - value), bootstrap.values(partial(_rise, both), count))
            lines.append(_line(name, float(other), compared, None, _same(own, base)))
    assert base.perplexity is not None
    return Figure(PERPLEXITY, base.perplexity, lines)


def _logs(answers: Answers) -> NDArray[np.float64]:
    return np.array([row[0] for row in answers.loglikelihoods], np.float64)


def _perplexities(logs: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of log-likelihoods of shape (questions, models), each question weighted: shape (resamples, models)."""
    means = (weights @ logs) / weights.sum(axis=1, keepdims=True)
    found: NDArray[np.float64] = np.exp(np.minimum(-means, _MOST))
    return found


def _rise(logs: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much the second model's perplexity is above the first's."""
    found: NDArray[np.float64] = np.diff(_perplexities(logs, weights), axis=1)[:, 0]
    return found


def _same(own: Answers, base: Answers) -> bool:
    return own.loglikelihoods == base.loglikelihoods


def _line(name: str, value: float, compared: Comparison, flips: tuple[int, int] | None, same: bool) -> Line:
    lost, gained = flips or (None, None)
    delta, low, high, p = compared
    return Line(name, value, delta, (low, high), p, p, lost, gained, same)


def _flips(answers: Mapping[str, Answers]) -> Iterator[Flip]:
    """The questions whose answer is right in some and wrong in others, those first that the most variants lose."""
    base = answers[REFERENCE]
    hits = np.stack([own.acc for own in answers.values()])
    places = np.flatnonzero(hits.any(axis=0) & ~hits.all(axis=0))
    lost = (base.acc & ~hits).sum(axis=0)
    for place in sorted(places.tolist(), key=lambda place: -lost[place]):
        yield Flip(
            base.keys[place],
            {name: bool(own.acc[place]) for name, own in answers.items()},
            {name: int(own.chosen[place]) for name, own in answers.items()},
        )


def as_json(results: Results) -> dict[str, Any]:
    """What `results.json` holds: for each task what an image report has for its dataset. Figures are percent but for
    perplexities, differences points of percent.
    """
    return {
        "model": results.model,
        "reference": REFERENCE,
        "unit": "percent",
        "tasks": {task.name: _task_json(task, results) for task in results.tasks},
        "not_applicable": dict(results.not_applicable),
        "notes": list(results.notes),
        "made_by": dict(results.made_by),
    }


def _task_json(task: TaskResults, results: Results) -> dict[str, Any]:
    first, *_ = task.figures
    return {
        "metric": first.name,
        "protocol": task.questions.protocol,
        "n": task.count,
        "questions_sha256": task.questions.sha256,
        "chance": {figure.name: figure.chance for figure in task.figures if figure.chance is not None},
        "at_chance": [figure.name for figure in task.figures if figure.at_chance],
        "variants": {
            REFERENCE: {"n": task.count, **{figure.name: figure.reference for figure in task.figures}},
            **{name: _variant_json(task, name) for name in results.variants},
        },
    }


def _variant_json(task: TaskResults, variant: str) -> dict[str, Any]:
    """The figures, and how the first compares; the others' comparisons stand below their names and `_compared`."""
    first, *others = task.figures
    pairs = [(figure, line) for figure in task.figures if (line := figure.line(variant))]
    main = next((line for figure, line in pairs if figure is first), None)
    return {
        "n": task.count,
        **{figure.name: line.value for figure, line in pairs},
        **(_compared_json(main) | {"degenerate": main.degenerate} if main else {}),
        **{f"{figure.name}_compared": _compared_json(line) for figure, line in pairs if figure in others},
    }


def _compared_json(line: Line) -> dict[str, Any]:
    flips = {} if line.lost is None else {"lost": line.lost, "gained": line.gained}
    return {
        "delta": line.delta,
        "ci95": list(line.ci95),
        "p": line.p,
        "p_holm": line.p_holm,
        **flips,
    }
