"""The paper's row: Table 2 for classification, 3 for detection, 4 for segmentation.

All columns are present, in the paper's order; one that was not scored has a dash with its reason, never a zero. A
figure comes with the interval and the p-value of the variant behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from generators.registry import find
from generators.variant import NONE
from pipelines.evaluate.report.words import interval, note, number, p_equals
from pipelines.evaluate.results import Line, Results
from pipelines.style.stages import COMBINED

DASH = "–"
# The number of the table in the paper, and its name for the metric.
PAPER_TABLES = {"top1": ("Table 2", "ACC"), "map": ("Table 3", "mAP"), "miou": ("Table 4", "mIoU")}
HEADS = {
    "decode": "Decode",
    "resize": "Resize",
    "color": "Color Mode",
    "precision": "Precision (FP16 / INT8)",
    "pool": "Ceil Mode",
    "upsample": "Upsample",
    "boxes": "Post-processing",
    COMBINED: "Combined",
}
# Columns that a table lacks unless they have a figure.
_LACKING = {"top1": ("upsample", "boxes"), "map": (), "miou": ("boxes",)}
PAIR = ("fp16", "int8")
NOT_SCORED = "not among the scored variants"


@dataclass(frozen=True)
class Figure:
    """One figure of a cell: its text, and the variant whose interval and p-value are shown; None for a dash."""

    text: str
    line: Line | None

    @property
    def certainty(self) -> tuple[str, ...]:
        """`95% 0.10 to 3.20`, `p = 0.020` (Holm's), and a note if the variant changes nothing. Empty for a dash."""
        if self.line is None:
            return ()
        parts = (f"95% {interval(self.line)}", f"p {p_equals(self.line.p_holm)}")
        return (*parts, note(self.line)) if self.line.same else parts


@dataclass(frozen=True)
class Cell:
    """A cell under its column's head; `dashes` are the reasons for the dashes in it."""

    column: str
    head: str
    figures: Sequence[Figure]
    dashes: Sequence[str]

    @property
    def text(self) -> str:
        """Its figures: `0.33 (1.67)`, or `0.10 / 1.20`."""
        return " / ".join(figure.text for figure in self.figures)

    @property
    def scored(self) -> Sequence[tuple[str, Sequence[str]]]:
        """For each figure that is not a dash, the variant's name and the figure's certainty."""
        return [(figure.line.name, figure.certainty) for figure in self.figures if figure.line is not None]


def paper(results: Results) -> tuple[str, str]:
    """The paper's table, and its name for the metric."""
    table, what = PAPER_TABLES[results.metric]
    return table, f"mask {what}" if results.iou_type == "segm" else what


def row(results: Results) -> list[Cell]:
    """The cells after *Architecture* and *Trained*, in the paper's order."""
    lacking = _LACKING[results.metric]
    columns = [column for column in HEADS if column not in lacking or column in results.stages]
    return [_cell(results, column) for column in columns]


def _cell(results: Results, column: str) -> Cell:
    if column == "precision":
        pair = [_one(results, token) for token in PAIR]
        return Cell(column, HEADS[column], pair, list(_pair_dashes(results, pair)))
    figure = _combined(results) if column == COMBINED else _stage(results, column)
    reasons = _why_not_combined(results) if column == COMBINED else _why_not(results, column)
    return Cell(column, HEADS[column], [figure], [] if figure.line else list(reasons))


def _one(results: Results, name: str) -> Figure:
    line = next((line for line in results.lines if line.name == name), None)
    return Figure(number(line.delta) if line else DASH, line)


def _stage(results: Results, name: str) -> Figure:
    stage = results.stages.get(name)
    if stage is None:
        return Figure(DASH, None)
    text = number(stage.mean) if stage.methods == 1 else f"{number(stage.mean)} ({number(stage.max)})"
    return Figure(text, results.line(stage.worst))


def _combined(results: Results) -> Figure:
    line = results.combined
    return Figure(number(line.delta) if line else DASH, line)


def _pair_dashes(results: Results, pair: Sequence[Figure]) -> Iterator[str]:
    lacking = [token for token, figure in zip(PAIR, pair, strict=True) if figure.line is None]
    unasked = [token for token in lacking if token not in results.not_applicable]
    yield from (f"{token}: {results.not_applicable[token]}" for token in lacking if token not in unasked)
    if unasked:
        yield NOT_SCORED if len(unasked) == len(PAIR) else f"{unasked[0]}: {NOT_SCORED}"


def _why_not(results: Results, stage: str) -> Iterator[str]:
    if results.reference.stages[stage] == NONE and stage == "resize":
        yield "images keep their size"
        return
    tokens = [name for name in results.not_applicable if (method := find(name)) and method.stage == stage]
    yield from (f"{token}: {results.not_applicable[token]}" for token in tokens)
    if not tokens:
        yield NOT_SCORED


def _why_not_combined(results: Results) -> Iterator[str]:
    if results.missing:
        yield "its steps need more predictions, which are listed below"
    elif results.paper_steps:
        yield "one of its steps does not apply"
    else:
        yield "no stage has a method that changes anything"
