"""The results on the terminal: the paper's row for each task, every figure, and the findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.evaluate.report.words import interval, number, p_value, signed
from pipelines.evaluate.text import words
from pipelines.evaluate.text.results import REFERENCE, Figure, Results, TaskResults
from pipelines.text import table

_HEAD = ("task", "figure", "variant", "value", "Δ", "95% interval", "p", "p (Holm)", "lost", "gained", "")


def terminal(results: Results, page: str) -> str:
    """The text printed at the end of a run; `page` is where the report is."""
    lines = [words.subject(results), "", _paper(results), ""]
    if results.variants:
        rows = [_HEAD, *(row for task in results.tasks for row in _rows(task))]
        lines += [table(rows, frozenset(range(3, len(_HEAD) - 1))), ""]
    else:
        lines += [*(_alone(task) for task in results.tasks), ""]
    lines += [f"{head} –: {reason}." for head, reason in words.dashes(results) if results.variants]
    lines += [*results.notes, *filter(None, [words.at_chance(results)]), words.verdict(results), ""]
    return "\n".join([*lines, f"Report: {page}"])


def _paper(results: Results) -> str:
    """Table 5 of the paper: FP32's accuracy on each task, and the loss of each variant."""
    columns = words.columns(results)
    rows = [["task", f"{REFERENCE.upper()} (ACC)", *map(words.head, columns)]]
    for task in results.tasks:
        figure, *_ = task.figures
        rows.append([task.name, number(figure.reference), *(words.cell(figure, name) for name in columns)])
    return table(rows, frozenset(range(1, len(columns) + 2)))


def _rows(task: TaskResults) -> Iterator[Sequence[str]]:
    for figure in task.figures:
        yield (task.name, figure.name, REFERENCE, number(figure.reference), *[""] * 6, "reference")
        for line in figure.lines:
            compared = (signed(line.delta), interval(line), p_value(line.p), p_value(line.p_holm))
            yield ("", "", line.name, number(line.value), *compared, *words.flips(line), words.note(line))


def _alone(task: TaskResults) -> str:
    """The reference's figures, for a report without variants."""
    return f"{task.name}: {', '.join(map(_figure, task.figures))}"


def _figure(figure: Figure) -> str:
    certain = f" (95% {number(figure.ci95[0])} to {number(figure.ci95[1])})" if figure.ci95 else ""
    return f"{figure.name} {number(figure.reference)}{certain}"
