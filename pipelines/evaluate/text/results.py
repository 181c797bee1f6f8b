"""What each variant costs on each task, and whether that is more than chance.

Owns the arithmetic of the report, but not its presentation. Accuracies are in percent and their differences in points,
Δ = reference − variant. A lower perplexity is better, so there Δ = variant − reference: a loss is always positive.
Refuses variants whose answers are to different questions than the reference's.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

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

# The name of the unchanged model, as in Table 5 of the paper.
REFERENCE = "fp32"
PERPLEXITY = "perplexity"
# The natural logarithm of the largest perplexity, as in answers.py.
_MOST = math.log(sys.float_info.max)

Hits = NDArray[np.bool_]


@dataclass(frozen=True)
class Line:
    """One variant's value of a figure, compared with the reference's.

    `lost` and `gained` count the questions that only the reference and only the variant has right; None for a
    perplexity. `degenerate` says that every likelihood is the reference's, bit for bit.
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
    """One figure of a task, `acc`, `acc_norm` or `perplexity`: the reference's value and a line for each variant.

    `ci95` is the interval of the reference's own accuracy, and `chance` the accuracy of guessing, both in percent;
    None for a perplexity, and `chance` also if there are no choices to guess among.
    """

    name: str
    reference: float
    lines: Sequence[Line]
    ci95: tuple[float, float] | None = None
    chance: float | None = None

    @property
    def at_chance(self) -> bool:
        """Whether the reference may be no better than guessing."""
        return self.chance is not None and self.ci95 is not None and self.ci95[0] <= self.chance

    def line(self, variant: str) -> Line | None:
        """A variant's line, or None."""
        return next((line for line in self.lines if line.name == variant), None)


class Flip(NamedTuple):
    """A question whose answer flipped: what the reference and each variant chose, and whether it was right."""

    key: str
    right: Mapping[str, bool]
    chosen: Mapping[str, int]


@dataclass(frozen=True)
class TaskResults:
    """A task: its questions, its figures (`acc` first), and the questions that flipped (the worst first)."""

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
    """Everything in a report.

    `variants` are those that were scored, without the reference; `not_applicable` has the reason for each that was not.
    `made_by` has the digests and versions that determine the answers, by name.
    """

    model: str
    variants: Sequence[str]
    tasks: Sequence[TaskResults]
    not_applicable: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    made_by: Mapping[str, str] = field(default_factory=dict)


class TaskAnswers(NamedTuple):
    """A task's questions, and the answers of the reference and of each variant, by name, to all or some of them."""

    questions: Questions
    answers: Mapping[str, Answers]


def compare(model: str, asked: Sequence[TaskAnswers], bootstrap: Bootstrap) -> Results:
    """Compare the answers of all tasks; p-values are corrected for all comparisons."""
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
    """The figures of a task."""
    base = answers[REFERENCE]
    for own in answers.values():
        if own.keys != base.keys:
            raise ValueError("answers to different questions than the reference's cannot be compared")
    yield _accuracy("acc", {name: own.acc for name, own in answers.items()}, answers)
    if base.acc_norm is not None:
        hits = {name: own.acc_norm for name, own in answers.items() if own.acc_norm is not None}
        yield _accuracy("acc_norm", hits, answers)
    if base.perplexity is not None:
        yield _perplexity(answers, bootstrap)


def _accuracy(name: str, hits: Mapping[str, Hits], answers: Mapping[str, Answers]) -> Figure:
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
    """The perplexity of the questions' continuations, with a paired bootstrap; a single question has no interval."""
    base = answers[REFERENCE]
    theirs = _logs(base)
    count = len(theirs)
    lines = []
    for name, own in answers.items():
        if name != REFERENCE:
            both = np.stack([theirs, _logs(own)], axis=1)
            value, other = _perplexities(both, np.ones((1, count)))[0]
            delta = float(other - value)
            compared = (
                Comparison(delta, delta, delta, 1.0)
                if count == 1
                else paired_bootstrap(delta, bootstrap.values(partial(_rise, both), count))
            )
            lines.append(_line(name, float(other), compared, None, _same(own, base)))
    assert base.perplexity is not None
    return Figure(PERPLEXITY, base.perplexity, lines)


def _logs(answers: Answers) -> NDArray[np.float64]:
    return np.array([row[0] for row in answers.loglikelihoods], np.float64)


def _perplexities(logs: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Perplexities (resamples, models) from log-likelihoods (questions, models) and weights (resamples, questions)."""
    means = (weights @ logs) / weights.sum(axis=1, keepdims=True)
    found: NDArray[np.float64] = np.exp(np.minimum(-means, _MOST))
    return found


def _rise(logs: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The second model's perplexity minus the first's, for each resample."""
    found: NDArray[np.float64] = np.diff(_perplexities(logs, weights), axis=1)[:, 0]
    return found


def _same(own: Answers, base: Answers) -> bool:
    return own.loglikelihoods == base.loglikelihoods


def _line(name: str, value: float, compared: Comparison, flips: tuple[int, int] | None, same: bool) -> Line:
    lost, gained = flips or (None, None)
    delta, low, high, p = compared
    return Line(name, value, delta, (low, high), p, p, lost, gained, same)


def _flips(answers: Mapping[str, Answers]) -> Iterator[Flip]:
    """The questions that some models have right and others wrong; those that the most variants lose come first."""
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
