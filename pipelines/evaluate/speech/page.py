"""`report.html`: one file that needs no network and no script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from markupsafe import Markup

from pipelines.evaluate.report import words as figures
from pipelines.evaluate.report.charts import intervals
from pipelines.evaluate.report.provenance import provenance
from pipelines.evaluate.speech import words
from pipelines.evaluate.speech.results import STAGES, Line, Results
from pipelines.style.stages import COMBINED, LOOKS_OF_SPEECH
from pipelines.style.template import breaking, rendered


def page(results: Results) -> str:
    """The report as HTML."""
    filters = {
        "number": words.number,
        "signed": words.signed,
        "p": figures.p_value,
        "interval": words.interval,
        "breaking": breaking,
    }
    given = {
        "results": results,
        "words": words,
        "row": words.row(results),
        "sections": _sections(results),
        "charts": list(_charts(results)),
        "provenance": provenance(results.shards, [line.name for line in (results.reference, *results.lines)]),
        "looks": LOOKS_OF_SPEECH,
    }
    return rendered(Path(__file__).with_name("page.html"), filters, given)


def _sections(results: Results) -> list[tuple[str, list[Line]]]:
    """The lines of the table, by stage."""
    stages = (*STAGES, COMBINED)
    return [(stage, lines) for stage in stages if (lines := [line for line in results.lines if line.stage == stage])]


def _charts(results: Results) -> Iterator[tuple[str, Markup]]:
    """A chart for each stage, since the sizes of differences vary by stage. matplotlib escapes what it writes."""
    for stage, lines in _sections(results):
        title = LOOKS_OF_SPEECH[stage].title
        label = f"{title}: differences in MSE with their 95% intervals"
        yield title, Markup(intervals(lines, lines, label, "Δ MSE (right: worse)", words.number))
