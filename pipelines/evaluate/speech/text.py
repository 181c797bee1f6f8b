"""The results as text: the terminal's summary, `report.md` and `results.csv`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from pipelines.evaluate.report.markdown import escaped
from pipelines.evaluate.report.words import p_value
from pipelines.evaluate.speech import words
from pipelines.evaluate.speech.results import STAGES, Line, Results
from pipelines.evaluate.speech.words import interval, number, signed
from pipelines.text import table

_HEAD = ("variant", "MSE", "Δ", "95% interval", "p", "p (Holm)", "mels' own MSE", "")
_COLUMNS = ("n", "mse", "delta", "ci95_low", "ci95_high", "p", "p_holm", "degenerate", "other_length", "residual_mse")


def terminal(results: Results, folder: str) -> str:
    """The text printed at the end of a run."""
    lines = [f"{words.subject(results)}; reference {results.reference.name}", ""]
    lines += [table([_HEAD, *_rows(results)], frozenset(range(1, len(_HEAD) - 1))), "", _LEGEND, ""]
    if shown := [cell for cell in words.row(results) if cell.line]:
        rows = [("stage", "Δ mean (max)", "95% interval", "p (Holm)", "of"), *map(_stage, shown)]
        lines += [table(rows, frozenset({1, 2, 3})), ""]
    lines += [f"Does not apply: {names} ({reason})." for names, reason in words.joined(results.not_applicable)]
    lines += [*words.remarks(results), "", *filter(None, [results.doubt]), words.verdict(results), ""]
    return "\n".join([*lines, f"Report: {folder}/report.html"])


_LEGEND = (
    "MSE: mean squared difference of natural logarithms, averaged over recordings. Δ = variant − reference: a loss is "
    "positive.\nmels' own MSE: how far the variant's mels are from the reference's."
)


def _stage(cell: words.Cell) -> Sequence[str]:
    assert cell.line is not None
    return cell.head, cell.text, interval(cell.line), p_value(cell.line.p_holm), cell.line.name


def _rows(results: Results) -> Iterator[Sequence[str]]:
    yield results.reference.name, number(results.reference.mse), *[""] * 5, "reference"
    for line in results.lines:
        own = words.DASH if line.residual_mse is None else number(line.residual_mse)
        compared = (signed(line.delta), interval(line), p_value(line.p), p_value(line.p_holm))
        yield line.name, number(line.mse), *compared, own, words.note(line)


def markdown(results: Results) -> str:
    """`report.md`: the model's row, the table of all variants, and remarks."""
    cells = words.row(results)
    figures = [cell.text if cell.line is None else f"{cell.text}<br>{_certain(cell.line)}" for cell in cells]
    lines = [f"**{escaped(results.doubt)}**", ""] if results.doubt else []
    lines += [f"| Model | MSE | {' | '.join(cell.head for cell in cells)} |", "| --- | ---: |" + " ---: |" * len(cells)]
    lines += [f"| {escaped(results.model)} | {number(results.reference.mse)} | {' | '.join(figures)} |", ""]
    lines += [f"{escaped(words.subject(results))}; reference `{results.reference.name}`.", ""]
    lines += [f"- {cell.head}: {words.DASH} {escaped(cell.reason)}" for cell in cells if cell.reason]
    lines += ["", escaped(words.verdict(results)), ""]
    lines += [f"| {' | '.join(_HEAD)} |", "| --- |" + " ---: |" * (len(_HEAD) - 2) + " --- |"]
    for name, *rest in _rows(results):
        lines.append(f"| `{name}` | {' | '.join(map(escaped, rest))} |")
    lines += ["", _LEGEND, ""]
    lines += [f"- {escaped(names)}: {escaped(reason)}" for names, reason in words.joined(results.not_applicable)]
    lines += [f"- {escaped(line)}" for line in words.remarks(results)]
    return "\n".join(lines).rstrip() + "\n"


def _certain(line: Line) -> str:
    return f"`{line.name}`: {escaped(', '.join(words.certainty(line)))}"


def as_csv(results: Results) -> str:
    """`results.csv`: a row for each variant."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("model", "variant", *_COLUMNS, *STAGES))
    for line in (results.reference, *results.lines):
        own = "" if line.residual_mse is None else f"{line.residual_mse:.6g}"
        figures = [f"{value:.6g}" for value in (line.mse, line.delta, *line.ci95, line.p, line.p_holm)]
        same = str(line.degenerate).lower()
        stages = [line.stages[stage] for stage in STAGES]
        writer.writerow((results.model, line.name, results.count, *figures, same, line.other_length, own, *stages))
    return buffer.getvalue()
