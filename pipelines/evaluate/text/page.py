"""`report.html`: one file that needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from markupsafe import Markup

from pipelines.evaluate.report import words as figures
from pipelines.evaluate.report.charts import intervals
from pipelines.evaluate.text import words
from pipelines.evaluate.text.results import REFERENCE, Results
from pipelines.style.stages import LOOKS
from pipelines.style.template import rendered

# Of each task, questions whose answer flipped.
_SHOWN = 3


def page(results: Results) -> str:
    """The report as HTML."""
    filters = {
        "number": figures.number,
        "signed": figures.signed,
        "p": figures.p_value,
        "interval": figures.interval,
    }
    given = {
        "results": results,
        "reference": REFERENCE,
        "words": words,
        "columns": words.columns(results),
        "dashes": list(words.dashes(results)),
        "at_chance": words.at_chance(results),
        "charts": list(_charts(results)),
        "flips": {task.name: [words.shown(task, flip) for flip in task.flips[:_SHOWN]] for task in results.tasks},
        "looks": LOOKS,
    }
    return rendered(Path(__file__).with_name("page.html"), filters, given)


def _charts(results: Results) -> Iterator[tuple[str, Markup]]:
    """The charts that have anything to show, each with its caption. matplotlib escapes what it writes."""
    if lines := words.points(results):
        chart = intervals(lines, lines, "Differences in accuracy with their 95% intervals", "Δ, points (right: worse)")
        yield "Accuracies against the reference's, with 95% intervals.", Markup(chart)
    if lines := words.perplexities(results):
        label = "Differences in perplexity with their 95% intervals"
        chart = intervals(lines, lines, label, "Δ perplexity (right: worse)")
        yield "Perplexities against the reference's, with 95% intervals.", Markup(chart)
