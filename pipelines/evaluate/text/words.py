"""Wording that the terminal and the page share: the paper's row, and the findings in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.evaluate.report.words import interval, number, p_equals, signed
from pipelines.evaluate.text.results import PERPLEXITY, REFERENCE, Figure, Flip, Line, Results, TaskResults
from pipelines.text import number_of

DASH = "–"
# The columns of the paper's Table 5, after the reference's.
PAPER = ("fp16", "int8")
_NOT_SCORED = "not among the variants that were scored"


@dataclass(frozen=True)
class Named:
    """A line in a chart, which has those of several tasks and figures."""

    task: str
    figure: str
    line: Line
    stage: str = "precision"

    @property
    def name(self) -> str:
        return f"{self.task} {self.figure} {self.line.name}"

    @property
    def delta(self) -> float:
        return self.line.delta

    @property
    def ci95(self) -> tuple[float, float]:
        return self.line.ci95

    @property
    def p_holm(self) -> float:
        return self.line.p_holm

    @property
    def significant(self) -> bool:
        return self.line.significant


@dataclass(frozen=True)
class Shown:
    """A question whose answer flipped, for people: its text and, for each choice, its text, whether it is right, and
    which variants chose it. If a word was to be predicted, the only choice is that word, chosen by the variants that
    predicted it; `missed_by` are the others.
    """

    key: str
    text: str
    choices: Sequence[tuple[str, bool, Sequence[str]]]
    missed_by: Sequence[str]


def columns(results: Results) -> list[str]:
    """The variants with a column: the paper's, scored or not, and then the others."""
    return list(dict.fromkeys([*PAPER, *results.variants]))


def head(variant: str) -> str:
    """A column's head: `FP16 (Δ)`, as in the paper's table; other variants keep their names."""
    return f"{variant.upper() if variant in PAPER else variant} (Δ)"


def cell(figure: Figure, variant: str) -> str:
    """Δ of a variant, or a dash."""
    line = figure.line(variant)
    return DASH if line is None else signed(line.delta)


def certainty(figure: Figure, variant: str) -> tuple[str, ...]:
    """A cell's interval and p-value (Holm): `95% 0.10 to 3.20`, `p = 0.020`. Empty for a dash."""
    line = figure.line(variant)
    if line is None:
        return ()
    parts = (f"95% {interval(line)}", f"p {p_equals(line.p_holm)}")
    return (*parts, note(line)) if line.degenerate else parts


def dashes(results: Results) -> Iterator[tuple[str, str]]:
    """The columns that have dashes, each with the reason."""
    for variant in columns(results):
        if variant not in results.variants:
            yield head(variant), results.not_applicable.get(variant, _NOT_SCORED)


def note(line: Line) -> str:
    """A remark on a line, in a few words."""
    if line.degenerate:
        return "changed nothing"
    return "more than chance" if line.significant else ""


def flips(line: Line) -> tuple[str, str]:
    """How many questions are lost and gained; dashes for a perplexity."""
    if line.lost is None or line.gained is None:
        return DASH, DASH
    return f"{line.lost:,}", f"{line.gained:,}"


def points(results: Results) -> list[Named]:
    """The lines in points: all except perplexities."""
    return [named for named in _named(results) if named.figure != PERPLEXITY]


def perplexities(results: Results) -> list[Named]:
    """The lines that are perplexities."""
    return [named for named in _named(results) if named.figure == PERPLEXITY]


def _named(results: Results) -> Iterator[Named]:
    for task in results.tasks:
        for figure in task.figures:
            yield from (Named(task.name, figure.name, line) for line in figure.lines)


def subject(results: Results) -> str:
    """What was scored on what: `opt on piqa (1,838 questions), lambada (1,000)`."""
    first, *others = results.tasks
    counts = [
        f"{first.name} ({number_of(first.count, 'question')})",
        *(f"{task.name} ({task.count:,})" for task in others),
    ]
    return f"{results.model} on {', '.join(counts)}"


def at_chance(results: Results) -> str:
    """The figures for which the model is no better than guessing, in a sentence; empty if there are none."""
    found = [
        f"{task.name} {figure.name} {number(figure.reference)} (95% interval {number(figure.ci95[0])} to "
        f"{number(figure.ci95[1])}, guessing {number(figure.chance)})"
        for task in results.tasks
        for figure in task.figures
        if figure.at_chance and figure.ci95 is not None and figure.chance is not None
    ]
    return f"The model is at chance level, so differences mean nothing: {', '.join(found)}." if found else ""


def verdict(results: Results) -> str:
    """The main findings: which variant costs most, and how many differences are more than chance."""
    lines = points(results)
    if not lines:
        return f"Only {REFERENCE} was scored: there is nothing to compare."
    changed = [named for named in lines if not named.line.degenerate]
    if not changed:
        return "No variant changes anything: there is nothing to compare."
    guessed = {(task.name, figure.name) for task in results.tasks for figure in task.figures if figure.at_chance}
    tested = [named for named in changed if (named.task, named.figure) not in guessed]
    if not tested:
        return "The model is at chance level wherever a variant changes anything: differences in accuracy mean nothing."
    worst = max(tested, key=lambda named: named.delta)
    if worst.delta <= 0:
        return " ".join(["No variant lowers any accuracy.", *_more_than_chance(results)])
    cost = (
        f"{worst.line.name} on {worst.task} costs most: {number(worst.delta)} points of {worst.figure} (its own 95% "
        f"interval {interval(worst)}; p {p_equals(worst.line.p)}; corrected for all comparisons, p "
        f"{p_equals(worst.p_holm)})."
    )
    return " ".join([cost, *_more_than_chance(results)])


def _more_than_chance(results: Results) -> Iterator[str]:
    lines = list(_named(results))
    found = [named.name for named in lines if named.significant]
    few = f": {', '.join(found)}" if 0 < len(found) <= len(PAPER) else ""
    verb = "is" if len(found) == 1 else "are"
    yield f"{len(found) or 'None'} of {number_of(len(lines), 'difference')} {verb} more than chance{few}."


def shown(task: TaskResults, flip: Flip) -> Shown:
    """A flipped question, for people."""
    question = task.questions.asked[task.questions.keys.index(flip.key)]
    contexts = {request.context for request in question.requests}
    if len(question.requests) == 1:
        (request,) = question.requests
        predicted_by = [name for name, right in flip.right.items() if right]
        missed_by = [name for name, right in flip.right.items() if not right]
        return Shown(flip.key, request.context, [(request.continuation, True, predicted_by)], missed_by)
    several = len(contexts) > 1
    texts = [
        context + continuation if several else continuation.lstrip() for context, continuation in question.requests
    ]
    choices = [
        (text, place == question.gold, [name for name, chosen in flip.chosen.items() if chosen == place])
        for place, text in enumerate(texts)
    ]
    return Shown(flip.key, "" if several else question.requests[0].context, choices, [])
