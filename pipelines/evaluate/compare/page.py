"""`index.html` of a comparison: one file that needs no network, with a small script to sort and filter tables."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipelines.evaluate.compare import charts, text
from pipelines.evaluate.compare.answer import Answer, verdict
from pipelines.evaluate.compare.entry import Entry
from pipelines.evaluate.report import words
from pipelines.evaluate.report.row import PAPER_TABLES
from pipelines.style.stages import LOOKS
from pipelines.style.template import breaking, rendered

_HERE = Path(__file__).parent
_SCRIPT = (_HERE / "table.js").read_text(encoding="utf-8")


def page(found: Answer, links: Mapping[str, str], how: Sequence[str]) -> str:
    """The comparison as HTML. `links` has models' own pages by name; `how` says how it can be checked."""
    drawn = [(one, Markup(charts.relation(found, one))) for one in found.relations]
    return _rendered(
        "compare.html",
        found=found,
        verdict=verdict(found),
        legend=text.legend(found),
        pairs_legend=text.pairs_legend(found),
        certainty=text.certainty,
        paper_table=PAPER_TABLES[found.reports[0].metric][0],
        stages=list(dict.fromkeys(column.stage for column in found.table.columns)),
        bars=Markup(charts.bars(found)) if found.table.columns else None,
        relations=drawn,
        links=links,
        how=how,
    )


def model_page(entry: Entry, again: str) -> str:
    """One model's figures in a leaderboard, with the command and the digests to check them; `again` is the command."""
    results = entry.results
    base = results["variants"][results["reference"]]
    return _rendered(
        "model.html",
        entry=entry,
        results=results,
        metrics={name: title for name, title in words.METRICS.items() if name in base},
        variants=results["variants"],
        manifests=results["set"]["manifests"],
        command=again,
    )


def _rendered(template: str, **given: Any) -> str:
    """A page of a comparison, with the report's style and the script, which the page allows by its digest."""
    filters = {"number": words.number, "signed": words.signed, "p": words.p_value, "breaking": breaking}
    filters |= {"millions": text.megabytes, "interval": text.interval}
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    always = {"looks": LOOKS, "script": Markup(_SCRIPT), "script_sha256": digest}
    return rendered(_HERE / template, filters, {**always, **given})
