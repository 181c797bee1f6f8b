"""`report.html`: one file that needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from generators.registry import STAGES
from pipelines.evaluate.report import charts, text
from pipelines.evaluate.report.pictures import Example
from pipelines.evaluate.results import COMBINED, Line, Results

_STAGE_TITLES = {"decode": "Decode", "resize": "Resize", "color": "Colour", COMBINED: "Combined"}
# As charts.MARKERS draws them.
_SYMBOLS = {"decode": "●", "resize": "■", "color": "▲", COMBINED: "◆"}
# Published differences of the same kind, which give the table a scale: torchvision's and timm's own figures.
PUBLISHED = (
    ("ResNet-18, torchvision", "Pillow bilinear → tensor resize without antialiasing", 69.758, 68.934),
    ("ResNet-50, timm", "Pillow bicubic → OpenCV bicubic", 78.47, 77.51),
    ("ResNet-50, timm", "Pillow bilinear → OpenCV bilinear", 78.36, 78.02),
)


def page(results: Results, examples: Sequence[Example]) -> str:
    """The report as HTML."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": text.number, "signed": text.signed, "p": text.p_value, "interval": text.interval}
    environment.filters["breaking"] = _breaking
    return environment.get_template("page.html").render(
        results=results,
        examples=examples,
        subject=text.subject(results),
        verdict=text.verdict(results),
        metric=text.METRICS[results.metric],
        metrics=text.METRICS,
        figures=list(results.reference.figures),
        stage_titles=_STAGE_TITLES,
        sections=_sections(results),
        note=text.note,
        charts=_charts(results),
        symbols=_SYMBOLS,
        command=results.commands[0] if results.commands else None,
        provenance=_provenance(results),
        published=PUBLISHED if results.metric == "top1" else (),
    )


def _breaking(text: str) -> Markup:
    """Text that may be broken after `+` and `_`, since the names of compositions are long."""
    return Markup("_<wbr>").join(Markup("+<wbr>").join(part.split("+")) for part in text.split("_"))


def _sections(results: Results) -> list[tuple[str, list[Line]]]:
    """The lines of the table by stage, in order."""
    stages = (*STAGES, COMBINED)
    return [(stage, lines) for stage in stages if (lines := [line for line in results.lines if line.stage == stage])]


def _charts(results: Results) -> dict[str, Markup]:
    drawn = {"differences": charts.differences(results), "residuals": charts.residuals(results)}
    if results.steps:
        drawn["steps"] = charts.steps(results)
    # matplotlib escapes what it writes.
    return {name: Markup(svg) for name, svg in drawn.items()}


def _provenance(results: Results) -> dict[str, Any]:
    """What made the shards: configuration, and the versions of all libraries that any variant went through."""
    versions: dict[str, str] = {}
    for line in (results.reference, *results.lines):
        versions |= results.shards.variants[line.name].summary["provenance"]["libraries"]
    return {
        "configuration": results.shards.reference.summary["config_sha256"],
        "libraries": sorted(versions.items(), key=lambda item: item[0].lower()),
    }
