"""Models × stages, as the paper's Table 2: mean and max of Δ over the methods of each stage, with intervals.

Means over different methods cannot be compared, so a stage counts only the methods that every model has to which they
apply; others are left out, with a note. A cell that was not scored, or does not apply, is a dash with its reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from generators.registry import find
from pipelines.evaluate.compare.paired import lost, mean_interval
from pipelines.evaluate.compare.report import Line, Report
from pipelines.evaluate.report.row import DASH, HEADS, NOT_SCORED, PAIR
from pipelines.evaluate.report.words import number
from pipelines.evaluate.statistics import CONFIDENCE
from pipelines.style.stages import COMBINED

Interval = tuple[float, float]


@dataclass(frozen=True)
class Column:
    """A column of the table: its key, its title, and the stage that sets its look."""

    key: str
    title: str
    stage: str


@dataclass(frozen=True)
class Cell:
    """A model's figures in a column, in points; `worst` is the line with the maximum.

    `mean_ci95` is None if the report keeps no outcomes, or if there is one method, whose interval is the line's.
    """

    mean: float
    mean_ci95: Interval | None
    worst: Line
    methods: int

    @property
    def text(self) -> str:
        """`0.33`, or `0.33 (1.67)` of several methods."""
        return number(self.mean) if self.methods == 1 else f"{number(self.mean)} ({number(self.worst.delta)})"


@dataclass(frozen=True)
class Row:
    """A model's cells by column, and the reasons for the missing ones."""

    report: Report
    cells: dict[str, Cell]
    dashes: dict[str, str]

    def text(self, column: Column) -> str:
        """The text of a cell."""
        return self.cells[column.key].text if column.key in self.cells else DASH


@dataclass(frozen=True)
class Table:
    """The columns with any figure, the rows in the reports' order, and notes on them."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    notes: Sequence[str]


def table_of(reports: Sequence[Report]) -> Table:
    """The table of these reports, in their order. Columns without any figure are left out."""
    shared = {stage: _shared(reports, stage) for stage in HEADS if stage not in (COMBINED, "precision")}
    rows = [_row(report, shared) for report in reports]
    columns = [column for column in _COLUMNS if any(column.key in row.cells for row in rows)]
    return Table(columns, rows, [*_left_out(reports, shared), *_other_steps(reports)])


def _columns() -> Iterator[Column]:
    for stage, head in HEADS.items():
        if stage == "precision":
            yield from (Column(token, token.upper(), stage) for token in PAIR)
        else:
            yield Column(stage, head, stage)


_COLUMNS = tuple(_columns())


def _of_stage(report: Report, stage: str) -> dict[str, Line]:
    """A stage's lines by the token of their method."""
    return {line.stages[stage]: line for line in report.lines.values() if line.changed == (stage,)}


def _shared(reports: Sequence[Report], stage: str) -> set[str]:
    """The methods of a stage that no report lacks, unless they do not apply or it has none of the stage."""
    having = [report for report in reports if _of_stage(report, stage)]
    tokens = {token for report in having for token in _of_stage(report, stage)}
    return {t for t in tokens if all(t in _of_stage(r, stage) or t in r.not_applicable for r in having)}


def _left_out(reports: Sequence[Report], shared: dict[str, set[str]]) -> Iterator[str]:
    for stage, kept in shared.items():
        for report in reports:
            if alone := [token for token in _of_stage(report, stage) if token not in kept]:
                yield (
                    f"{HEADS[stage]} of {report.name} leaves out {', '.join(alone)}, which other reports lack, so that "
                    "all means are over the same methods."
                )


def _other_steps(reports: Sequence[Report]) -> Iterator[str]:
    """Notes on combined figures that lack a stage which applies."""
    stages = {r.name: {s["stage"] for s in r.raw["paper_steps"]} for r in reports if r.combined}
    scored = {r.name: {stage for stage in HEADS if stage != COMBINED and _of_stage(r, stage)} for r in reports}
    union = set().union(*stages.values())
    for report in reports:
        unscored = [
            stage
            for stage in HEADS
            if stage in union and report.name in stages and stage not in scored[report.name]
            if not _reasons(report, stage)
        ]
        if unscored:
            yield f"Combined of {report.name} is incomplete: it lacks {', '.join(unscored)}, not scored."


def _row(report: Report, shared: dict[str, set[str]]) -> Row:
    cells, dashes = dict[str, Cell](), dict[str, str]()
    for column in _COLUMNS:
        lines = _lines(report, column, shared)
        if lines:
            cells[column.key] = _cell(report, lines)
        else:
            dashes[column.key] = _why_not(report, column)
    return Row(report, cells, dashes)


def _lines(report: Report, column: Column, shared: dict[str, set[str]]) -> list[Line]:
    if column.key == COMBINED:
        return [report.combined] if report.combined else []
    found = _of_stage(report, column.stage)
    if column.key in PAIR:
        return [found[column.key]] if column.key in found else []
    return [line for token, line in found.items() if token in shared[column.stage]]


def _cell(report: Report, lines: Sequence[Line]) -> Cell:
    worst = max(lines, key=lambda line: (line.delta, not line.same))
    mean = sum(line.delta for line in lines) / len(lines)
    return Cell(mean, _mean_ci95(report, lines) if len(lines) > 1 else None, worst, len(lines))


def _mean_ci95(report: Report, lines: Sequence[Line]) -> Interval | None:
    """The interval of the mean over methods, from the report's outcomes."""
    base, own = report.basis(report.reference), [report.basis(line) for line in lines]
    if base is None or any(one is None for one in own):
        return None
    if base.dtype == bool:
        low, high = mean_interval(np.mean([lost(base, one) for one in own if one is not None], axis=0))
    else:
        means = np.mean([base - one for one in own if one is not None], axis=0)
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(means[np.isfinite(means)], [tail, 1 - tail]).tolist()
    return 100 * low, 100 * high


def _reasons(report: Report, stage: str) -> dict[str, str]:
    """Why methods of a stage do not apply, by token."""
    found = report.not_applicable.items()
    return {token: why for token, why in found if (method := find(token)) and method.stage == stage}


def _why_not(report: Report, column: Column) -> str:
    if column.key == COMBINED:
        return "not every step was scored" if report.raw["missing"]["variants"] else "a step does not apply"
    if column.key in PAIR:
        return report.not_applicable.get(column.key, NOT_SCORED)
    if _of_stage(report, column.stage):
        return "no method that all these reports have"
    return "; ".join(dict.fromkeys(_reasons(report, column.stage).values())) or NOT_SCORED
