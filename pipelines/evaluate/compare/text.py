"""The comparison as text: the terminal's table, and `report.md`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.evaluate.compare.answer import Answer, verdict
from pipelines.evaluate.compare.pairs import Pair
from pipelines.evaluate.compare.table import Cell, Column, Row
from pipelines.evaluate.report.markdown import escaped
from pipelines.evaluate.report.row import DASH
from pipelines.evaluate.report.words import number, p_value, signed
from pipelines.text import table

# Paired tests to show in a text that cannot be filtered: those with the lowest p-values.
_SHOWN = 12
LEGEND = (
    "Δ = reference − variant, in points of {metric}; mean (max) over a stage's methods. The 95% interval of a mean is "
    "over images; that of a maximum is the worst variant's own, and does not allow for the choice."
)
PAIRS = (
    "How much more a variant costs the first model than the second, on the same images: {test}; p (Holm) is corrected "
    "for {tests}. Variants that have the reference's pixels for both are left out."
)
TESTS = {
    "top1": "an exact test of signs by image (McNemar's, for differences of differences)",
    "map": "a paired bootstrap over images",
    "miou": "a paired bootstrap over images",
}


def legend(found: Answer) -> str:
    """How to read the table."""
    return LEGEND.format(metric=found.metric)


def pairs_legend(found: Answer) -> str:
    """How to read the paired tests."""
    return PAIRS.format(
        test=TESTS[found.reports[0].metric],
        tests=f"all {len(found.pairs):,} tests" if len(found.pairs) > 1 else "1 test",
    )


def megabytes(count: int | None) -> str:
    """A file's size in MB, or parameters in millions: `3.60`."""
    return DASH if count is None else number(count / 1e6)


def interval(ends: tuple[float, float]) -> str:
    """An interval in points: `0.54 to 9.65`."""
    return f"{number(ends[0])} to {number(ends[1])}"


def certainty(cell: Cell) -> list[str]:
    """The lines below a cell's figures: the interval of the mean, then that of the worst variant."""
    mean = [f"mean {interval(cell.mean_ci95)}"] if cell.mean_ci95 else []
    label = "max " if cell.methods > 1 else ""
    return [*mean, f"{label}{interval(cell.worst.ci95)}"]


def terminal(found: Answer, where: str) -> str:
    """The summary that is printed when the comparison is done."""
    lines = [found.subject, "", _table(found), "", legend(found), ""]
    lines += [
        f"{row.report.name}, {column}: {DASH} {why}." for row in found.table.rows for column, why in _why(found, row)
    ]
    lines += [*found.notes, ""]
    if sentences := verdict(found):
        lines += [sentences, ""]
    return "\n".join([*lines, f"Comparison: {where}"])


def _table(found: Answer) -> str:
    columns = found.table.columns
    rows = [["model", found.metric, *(column.title for column in columns), "params, M", "MB"]]
    for row in found.table.rows:
        report = row.report
        cells = [row.text(column) for column in columns]
        facts = [megabytes(report.parameters), megabytes(report.bytes)]
        rows.append([report.name, number(report.reference.value), *cells, *facts])
    return table(rows, frozenset(range(1, len(rows[0]))))


def _why(found: Answer, row: Row) -> Iterator[tuple[str, str]]:
    """The columns of a row's dashes, and their reasons."""
    yield from ((column.title, row.dashes[column.key]) for column in found.table.columns if column.key in row.dashes)


def markdown(found: Answer) -> str:
    """`report.md`: the table with its intervals, the paired tests with the lowest p, and the notes."""
    columns = found.table.columns
    head = ["model", found.metric, *(column.title for column in columns), "parameters, M", "MB"]
    lines = [f"# SysNoise: {escaped(found.subject)}", "", _cells(head), _cells(["---", *["---:"] * (len(head) - 1)])]
    lines += [_cells(_row(row, columns)) for row in found.table.rows]
    lines += ["", legend(found), ""]
    dashes = [(row, *one) for row in found.table.rows for one in _why(found, row)]
    lines += [f"- {escaped(row.report.name)}, {title}: {DASH} {escaped(why)}" for row, title, why in dashes]
    lines += [""] if dashes else []
    if sentences := verdict(found):
        lines += [escaped(sentences), ""]
    lines += _pairs(found)
    lines += [f"- {escaped(note)}" for note in found.notes]
    return "\n".join(lines).rstrip() + "\n"


def _row(row: Row, columns: Sequence[Column]) -> list[str]:
    report, cells = row.report, []
    for column in columns:
        cell = row.cells.get(column.key)
        details = [f"`{cell.worst.name}`", *certainty(cell)] if cell else []
        cells.append("<br>".join([row.text(column), *details]))
    facts = [megabytes(report.parameters), megabytes(report.bytes)]
    return [escaped(report.name), number(report.reference.value), *cells, *facts]


def _pairs(found: Answer) -> Iterator[str]:
    if not found.pairs:
        return
    yield from ("## Paired tests", "", pairs_legend(found))
    if len(found.pairs) > _SHOWN:
        yield f"These are the {_SHOWN} with the lowest p; results.json has all."
    yield from ("", _cells(["model", "against", "variant", "Δ of Δ", "95% interval", "p", "p (Holm)"]))
    yield _cells(["---"] * 3 + ["---:"] * 4)
    yield from (_cells(map(escaped, pair_row(pair))) for pair in sorted(found.pairs, key=lambda pair: pair.p)[:_SHOWN])
    yield ""


def pair_row(pair: Pair) -> list[str]:
    """The cells of a paired test."""
    figures = [signed(pair.delta), interval(pair.ci95), p_value(pair.p), p_value(pair.p_holm)]
    return [pair.one, pair.other, pair.variant, *figures]


def _cells(cells: Sequence[str] | Iterator[str]) -> str:
    return f"| {' | '.join(cells)} |"
