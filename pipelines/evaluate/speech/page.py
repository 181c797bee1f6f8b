"""`report.html`: one file that needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipelines.evaluate.report import words as figures
from pipelines.evaluate.report.charts import intervals
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
        "provenance": _provenance(results),
        "looks": LOOKS_OF_SPEECH,
    }
    return rendered(Path(__file__).with_name("page.html"), filters, given)


def _sections(results: Results) -> list[tuple[str, list[Line]]]:
    """The lines of the table by stage, in order."""
    stages = (*STAGES, COMBINED)
    return [(stage, lines) for stage in stages if (lines := [line for line in results.lines if line.stage == stage])]


def _charts(results: Results) -> Iterator[tuple[str, Markup]]:
    """A chart for each stage, as their differences are of other sizes. matplotlib escapes what it writes."""
    for stage, lines in _sections(results):
        title = LOOKS_OF_SPEECH[stage].title
        label = f"{title}: differences in MSE with their 95% intervals"
        yield title, Markup(intervals(lines, lines, label, "Δ MSE (right: worse)", words.number))


def _provenance(results: Results) -> dict[str, Any]:
    """What made the mels: configuration, and the versions of all libraries that any variant went through."""
    versions: dict[str, str] = {}
    for line in (results.reference, *results.lines):
        versions |= results.shards.variants[line.name].summary["provenance"]["libraries"]
    return {
        "configuration": results.shards.reference.summary["config_sha256"],
        "libraries": sorted(versions.items(), key=lambda item: item[0].lower()),
    }
