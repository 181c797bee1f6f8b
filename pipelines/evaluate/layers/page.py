"""Writes `layers.html`: one file, without network access or scripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipelines.evaluate.layers import answer as words
from pipelines.evaluate.layers.answer import Answer
from pipelines.evaluate.layers.chart import along
from pipelines.style.stages import LOOKS
from pipelines.style.template import rendered


def page(model: str, answers: Sequence[Answer], notes: Sequence[str]) -> str:
    """The page of the answers, as HTML."""
    filters = {
        "db": words.decibels,
        "shape": words.shape_text,
        "left": words.ratio_text,
        "before": words.before,
        "note": words.note,
    }
    charts = {one.variant: along(one) for one in answers}
    given = {"model": model, "answers": answers, "notes": notes, "looks": LOOKS, "charts": charts}
    return rendered(Path(__file__).with_name("layers.html"), filters, given)
