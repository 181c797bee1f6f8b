"""`layers.html`: one file that needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.evaluate.layers import answer as words
from pipelines.evaluate.layers.answer import Answer
from pipelines.evaluate.layers.chart import along
from pipelines.evaluate.report.looks import LOOKS

_HERE = Path(__file__).parent


def page(model: str, answers: Sequence[Answer], notes: Sequence[str]) -> str:
    """The answers as HTML."""
    environment = Environment(
        loader=FileSystemLoader([_HERE, _HERE.with_name("report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"db": words.decibels, "shape": words.shape_text, "left": words.ratio_text}
    environment.filters |= {"before": words.before, "note": words.note}
    return environment.get_template("layers.html").render(
        model=model, answers=answers, notes=notes, looks=LOOKS, charts={one.variant: along(one) for one in answers}
    )
