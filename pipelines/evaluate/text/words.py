"""What the terminal and the page say alike of language models: the paper's row, and the findings in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.evaluate.report.words import interval, number, p_equals, signed
from pipelines.evaluate.text.results import PERPLEXITY, REFERENCE, Figure, Flip, Line, Results, TaskResults

DASH = "–"
# The columns of the paper's Table 5, beside the reference's.
PAPER = ("fp16", "int8")
_NOT_SCORED = "not among the variants that were scored"


@dataclass(frozen=True)
class Named:
    """A line as a chart has it, where those of several tasks and figures stand below each other."""

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
    """A question whose answer flipped, as a person reads it: its text, and of each choice whether it is the right one
    and who chose it. Where a word was to be told, there is one choice, chosen by those who told it, and `missed_by` are
    the others.
    """

    key: str
    text: str
    choices: Sequence[tuple[str, bool, Sequence[str]]]
    missed_by: Sequence[str]


def columns(results: Results) -> list[str]:
    """The variants that have a column: the paper's, whether or not they were scored, and then the others."""
    return list(dict.fromkeys([*PAPER, *results.variants]))


def head(variant: str) -> str:
    """What the paper's table calls a column: `FP16 (Δ)`; a variant that it lacks has its own name."""
    return f"{variant.upper() if variant in PAPER else variant} (Δ)"


def cell(figure: Figure, variant: str) -> str:
    """Δ of a variant, or a dash."""
    line = figure.line(variant)
    return DASH if line is None else signed(line.delta)


def certainty(figure: Figure, variant: str) -> tuple[str, ...]:
    """What is certain of a cell: `95% 0.10 to 3.20`, `p = 0.020`; p is Holm's. Empty for a dash."""
    line = figure.line(variant)
    if line is None:
        return ()
    said = (f"95% {interval(line)}", f"p {p_equals(line.p_holm)}")
    return (*said, note(line)) if line.degenerate else said


def dashes(results: Results) -> Iterator[tuple[str, str]]:
    """Why columns have dashes: what each is called, and the reason."""
    for variant in columns(results):
        if variant not in results.variants:
            yield head(variant), results.not_applicable.get(variant, _NOT_SCORED)


def note(line: Line) -> str:
    """What to know of a line, in a word or two."""
    if line.degenerate:
        return "changed nothing"
    return "more than chance" if line.significant else ""


def flips(line: Line) -> tuple[str, str]:
    """How many questions are lost and gained; dashes of a perplexity."""
    if line.lost is None or line.gained is None:
        return DASH, DASH
    return f"{line.lost:,}", f"{line.gained:,}"


def points(results: Results) -> list[Named]:
    """The lines in points: all but those of perplexities."""
    return [named for named in _named(results) if named.figure != PERPLEXITY]


def perplexities(results: Results) -> list[Named]:
    """The lines of perplexities."""
    return [named for named in _named(results) if named.figure == PERPLEXITY]


def _named(results: Results) -> Iterator[Named]:
    for task in results.tasks:
        for figure in task.figures:
            yield from (Named(task.name, figure.name, line) for line in figure.lines)


def subject(results: Results) -> str:
    """What was scored on what: `opt on piqa (1,838 questions), lambada (1,000)`."""
    first, *others = results.tasks
    counts = [f"{first.name} ({_questions(first.count)})", *(f"{task.name} ({task.count:,})" for task in others)]
    return f"{results.model} on {', '.join(counts)}"


def _questions(count: int) -> str:
    return "1 question" if count == 1 else f"{count:,} questions"


def at_chance(results: Results) -> str:
    """Where the model does no better than guessing; empty where it always does."""
    found = [
        f"{task.name} {figure.name} {number(figure.reference)} (95% interval {number(figure.ci95[0])} to "
        f"{number(figure.ci95[1])}, guessing {number(figure.chance)})"
        for task in results.tasks
        for figure in task.figures
        if figure.at_chance and figure.ci95 is not None and figure.chance is not None
    ]
    return f"The model is at chance level, and differences mean nothing, in {', '.join(found)}." if found else ""


def verdict(results: Results) -> str:
    """The main findings: what costs most, and how much of it is more than chance."""
    lines = points(results)
    if not lines:
        return f"{REFERENCE} alone was scored: there is nothing to compare."
    changed = [named for named in lines if not named.line.degenerate]
    if not changed:
        return "No variant changes anything: there is nothing to compare."
    guessed = {(task.name, figure.name) for task in results.tasks for figure in task.figures if figure.at_chance}
    tested = [named for named in changed if (named.task, named.figure) not in guessed]
    if not tested:
        return (
            "The model is at chance level wherever a variant changes anything: no difference in accuracy says anything."
        )
    worst = max(tested, key=lambda named: named.delta)
    if worst.delta <= 0:
        return " ".join(["No variant lowers any accuracy.", *_more_than_chance(results)])
    cost = (
        f"What costs most is {worst.line.name} on {worst.task}: {number(worst.delta)} points of {worst.figure} (95% "
        f"interval for it alone {interval(worst)}; p {p_equals(worst.line.p)}; corrected for all that is compared, p "
        f"{p_equals(worst.p_holm)})."
    )
    return " ".join([cost, *_more_than_chance(results)])


def _more_than_chance(results: Results) -> Iterator[str]:
    lines = list(_named(results))
    found = [named.name for named in lines if named.significant]
    if found:
        few = f": {', '.join(found)}" if len(found) <= len(PAPER) else ""
        yield f"Of {len(lines)} differences {len(found)} {'is' if len(found) == 1 else 'are'} more than chance{few}."
    else:
        yield f"None of the {len(lines)} differences can be told from chance."


def shown(task: TaskResults, flip: Flip) -> Shown:
    """A question whose answer flipped."""
    question = task.questions.asked[task.questions.keys.index(flip.key)]
    contexts = {request.context for request in question.requests}
    if len(question.requests) == 1:
        (request,) = question.requests
        told = [name for name, right in flip.right.items() if right]
        missed = [name for name, right in flip.right.items() if not right]
        return Shown(flip.key, request.context, [(request.continuation, True, told)], missed)
    apart = len(contexts) > 1
    texts = [context + continuation if apart else continuation.lstrip() for context, continuation in question.requests]
    choices = [
        (text, place == question.gold, [name for name, chosen in flip.chosen.items() if chosen == place])
        for place, text in enumerate(texts)
    ]
    return Shown(flip.key, "" if apart else question.requests[0].context, choices, [])
