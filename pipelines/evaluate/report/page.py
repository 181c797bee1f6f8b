"""`report.html`: one file that needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from generators.registry import PIXEL_STAGES, STAGES
from pipelines.evaluate.report import charts, words
from pipelines.evaluate.report.pictures import Example
from pipelines.evaluate.report.row import paper, row
from pipelines.evaluate.results import Line, Results
from pipelines.style.stages import COMBINED, LOOKS
from pipelines.style.template import breaking, rendered

# Published differences of the same kind, to put the table in proportion: torchvision's and timm's own figures.
PUBLISHED = (
    ("ResNet-18, torchvision", "Pillow bilinear → tensor resize without antialiasing", 69.758, 68.934),
    ("ResNet-50, timm", "Pillow bicubic → OpenCV bicubic", 78.47, 77.51),
    ("ResNet-50, timm", "Pillow bilinear → OpenCV bilinear", 78.36, 78.02),
)


def page(results: Results, examples: Sequence[Example]) -> str:
    """The report as HTML."""
    filters = {
        "number": words.number,
        "signed": words.signed,
        "p": words.p_value,
        "interval": words.interval,
        "breaking": breaking,
    }
    given = {
        "results": results,
        "examples": examples,
        "subject": words.subject(results),
        "verdict": words.verdict(results),
        "metric": words.metric(results),
        "metrics": words.metrics(results),
        "paper": paper(results),
        "row": row(results),
        "chosen": words.chosen(results),
        "figures": list(results.reference.figures),
        "by_class": list(words.by_class(results)),
        "looks": LOOKS,
        "sections": _sections(results),
        "note": words.note,
        "charts": _charts(results),
        "steps": _steps(results),
        "wanting": words.wanting(results),
        "advice": _advice(results),
        "advice_stages": [stage for stage in PIXEL_STAGES if any(one.stage == stage for one in results.advice)],
        "advice_note": words.ADVICE,
        "not_applicable": words.not_applicable(results),
        "left_out": words.left_out(results),
        "provenance": _provenance(results),
        "published": PUBLISHED if results.metric == "top1" else (),
    }
    return rendered(Path(__file__).with_name("page.html"), filters, given)


def _sections(results: Results) -> list[tuple[str, list[Line]]]:
    """The lines of the table by stage, in order."""
    stages = (*STAGES, COMBINED)
    return [(stage, lines) for stage in stages if (lines := [line for line in results.lines if line.stage == stage])]


def _charts(results: Results) -> dict[str, Markup]:
    """The charts that have something to show. matplotlib escapes the text in them."""
    stages = {line.stage == COMBINED for line in results.lines}
    drawn = {"differences": charts.differences(results)} if False in stages else {}
    if True in stages:
        drawn["compositions"] = charts.compositions(results)
    if charts.has_residuals(results):
        drawn["residuals"] = charts.residuals(results)
    return {name: Markup(svg) for name, svg in drawn.items()}


def _steps(results: Results) -> list[tuple[str, Markup]]:
    """The step-by-step charts, each with its title."""
    return [(title, Markup(charts.steps(results, chain, title))) for title, chain in words.chains(results)]


def _advice(results: Results) -> dict[str, dict[str, dict[str, Any]]]:
    """The cheapest method by library and stage: its name, its cost, and how it compares."""
    return {
        library: {
            one.stage: {
                "method": one.method,
                "cost": "the reference's own" if words.is_reference(results, one) else words.number(one.delta),
                "compared": words.compared(one),
            }
            for one in found
        }
        for library, found in words.advice(results).items()
    }


def _provenance(results: Results) -> dict[str, Any]:
    """What made the shards: the configuration, and the versions of all libraries of any variant."""
    versions: dict[str, str] = {}
    for line in (results.reference, *results.lines):
        versions |= results.shards.variants[line.name].summary["provenance"]["libraries"]
    return {
        "configuration": results.shards.reference.summary["config_sha256"],
        "libraries": sorted(versions.items(), key=lambda item: item[0].lower()),
    }
