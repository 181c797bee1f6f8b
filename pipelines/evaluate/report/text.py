"""The results as text: the terminal's summary, `report.md` in the paper's layout, `results.csv` in timm's columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from generators.geometry import CROPPED
from generators.registry import MODEL_STAGES
from pipelines.evaluate.advice import Advice
from pipelines.evaluate.report import words
from pipelines.evaluate.report.markdown import escaped
from pipelines.evaluate.report.row import Cell, paper, row
from pipelines.evaluate.report.words import interval, metric, note, number, p_value, signed
from pipelines.evaluate.results import Line, Results
from pipelines.generate.config import size_from_json
from pipelines.style.stages import COMBINED
from pipelines.text import entry, number_of, table

# timm's validate.py and results/results-imagenet.csv.
_TIMM = ("model", "top1", "top1_err", "top5", "top5_err", "param_count", "img_size", "crop_pct", "interpolation")
_OWN = ("n", "delta", "ci95_low", "ci95_high", "p", "p_holm", "lost", "gained", "degenerate", "mean_residual")
# Nobody reads a longer table on a terminal.
_LONGEST_TABLE = 40


def terminal(results: Results, folder: str) -> str:
    """The summary that is printed when scoring is done."""
    lines = [f"{words.subject(results)}; reference {results.reference.name}", ""]
    lines += [*_table(results, folder), ""]
    lines += [_row_lines(results), ""]
    lines += [words.chain(results, *one) for one in words.chains(results)]
    lines += [*_wanting(results)]
    lines += [f"Does not apply: {names} ({reason})." for names, reason in words.not_applicable(results)]
    lines += [*words.remarks(results), ""]
    lines += [*filter(None, [results.doubt]), words.verdict(results), ""]
    lines += [_advice(results, library, found) for library, found in words.advice(results).items()]
    return "\n".join([*lines, f"Report: {folder}/report.html"])


def _table(results: Results, folder: str) -> Iterator[str]:
    names = list(results.reference.figures)
    head = [*_head(results), ""]
    shown = _shown(results)
    rows = [head, *(_line_row(line, names, line is results.reference) for line in (results.reference, *shown))]
    yield table(rows, frozenset(range(1, len(head) - 1)))
    yield ""
    if left := len(results.lines) - len(shown):
        yield f"See {folder}/results.csv for {number_of(left, 'more composition')}."
    yield f"Δ = reference − variant in points of {metric(results)}; lost and gained count {results.counted}."


def _shown(results: Results) -> Sequence[Line]:
    """All lines of a short table; only single methods and the steps of a long one."""
    if len(results.lines) <= _LONGEST_TABLE:
        return results.lines
    steps = {step.variant for step in (*results.paper_steps, *results.steps)}
    return [line for line in results.lines if line.stage != COMBINED or line.name in steps]


def _row_lines(results: Results) -> str:
    """The scored part of the paper's row, a line for each figure."""
    rows = [["stage", "Δ mean (max)", "95% interval", "p (Holm)", "of"]]
    for cell in row(results):
        for figure in cell.figures:
            if (line := figure.line) is not None:
                head = cell.head.partition(" (")[0]
                rows.append([head, figure.text, interval(line), p_value(line.p_holm), line.name])
    return table(rows, frozenset({1, 2, 3}))


def _head(results: Results) -> list[str]:
    figures = [words.metrics(results)[name] for name in results.reference.figures]
    return ["variant", *figures, "Δ", "95% interval", "p", "p (Holm)", "lost", "gained"]


def _line_row(line: Line, names: Sequence[str], is_reference: bool) -> list[str]:
    figures = [number(line.figures[name]) if name in line.figures else "–" for name in names]
    if is_reference:
        return [line.name, *figures, "", "", "", "", "", "", "reference"]
    compared = [signed(line.delta), interval(line), p_value(line.p), p_value(line.p_holm)]
    return [line.name, *figures, *compared, f"{line.lost:,}", f"{line.gained:,}", note(line)]


def _wanting(results: Results) -> Iterator[str]:
    if results.missing:
        yield words.wanting(results)
    if results.commands:
        yield "To make what they need:"
        yield from (f"  {_typed(command)}" for command in results.commands)


def _typed(command: str) -> str:
    """A command as the user would type it in the current folder."""
    script, _, rest = command.partition(" ")
    return f"{entry(script)} {rest}"


def _advice(results: Results, library: str, found: Sequence[Advice]) -> str:
    """The cheapest method of each stage with only one library, in a line."""
    stages = [f"{one.stage} {one.method} {_cost(results, one)}" for one in found]
    return f"With only {library}, the cheapest methods: {', '.join(stages)}."


def _cost(results: Results, one: Advice) -> str:
    return "(the reference's own)" if words.is_reference(results, one) else number(one.delta)


def markdown(results: Results) -> str:
    """`report.md`: the paper's row, the table of all variants, the steps, and what to do about it."""
    lines = [*_doubt_markdown(results), *_paper_markdown(results), "", escaped(words.verdict(results)), ""]
    lines += [*_table_markdown(results), ""]
    lines += _classes_markdown(results)
    lines += _steps_markdown(results)
    lines += _advice_markdown(results)
    if results.not_applicable:
        lines += ["## What does not apply", ""]
        lines += [f"- {escaped(names)}: {escaped(reason)}" for names, reason in words.not_applicable(results)]
        lines.append("")
    lines += [f"- {escaped(text)}" for text in words.remarks(results)]
    return "\n".join(lines).rstrip() + "\n"


def _doubt_markdown(results: Results) -> Iterator[str]:
    if results.doubt:
        yield from (f"**{escaped(results.doubt)}**", "")


def _paper_markdown(results: Results) -> Iterator[str]:
    title, what = paper(results)
    cells = row(results)
    yield f"| Architecture | Trained {what} | {' | '.join(cell.head for cell in cells)} |"
    yield "| --- | ---: |" + " ---: |" * len(cells)
    trained = number(results.reference.figures[results.metric])
    yield f"| {escaped(results.model)} | {trained} | {' | '.join(map(_cell_markdown, cells))} |"
    yield ""
    yield (
        f"As {title} of the SysNoise paper: Δ = reference − variant, in points of {metric(results)}; mean "
        "(max) over a stage's methods. Below each figure: the variant (the worst if there are several), with its 95% "
        "interval and its p-value, corrected for the size of the table (Holm). "
        f"{escaped(words.subject(results))}; reference `{results.reference.name}`."
    )
    if dashes := [(cell.head, "; ".join(cell.dashes)) for cell in cells if cell.dashes]:
        yield ""
        yield from (f"- {head}: – {escaped(reason)}" for head, reason in dashes)
    if found := words.chosen(results):
        yield from ("", found)


def _cell_markdown(cell: Cell) -> str:
    return "<br>".join([cell.text, *(f"`{name}`: {escaped(', '.join(lines))}" for name, lines in cell.scored)])


def _table_markdown(results: Results) -> Iterator[str]:
    names = list(results.reference.figures)
    yield f"| {' | '.join(_head(results))} | |"
    yield "| --- |" + " ---: |" * (len(names) + 6) + " --- |"
    for line in (results.reference, *results.lines):
        name, *rest = _line_row(line, names, line is results.reference)
        yield f"| `{name}` | {' | '.join(map(escaped, rest))} |"


def _classes_markdown(results: Results) -> Iterator[str]:
    found = words.by_class(results)
    rows = [f"| {name} | {figure} | {lost} | {f'`{worst}`' if worst else ''} |" for name, figure, lost, worst in found]
    if rows:
        yield from ("| class | IoU | largest Δ | with |", "| --- | ---: | ---: | --- |", *rows, "")


def _steps_markdown(results: Results) -> Iterator[str]:
    for one in words.chains(results):
        yield from (escaped(words.chain(results, *one)), "")
    if results.missing:
        yield from (escaped(words.wanting(results)), "")
    if results.commands:
        commands = [f"python {command}" for command in results.commands]
        yield from ("To make what they need:", "", "```sh", *commands, "```", "")


def _advice_markdown(results: Results) -> Iterator[str]:
    if not results.advice:
        return
    yield from ("## What to do about it", "", words.ADVICE, "")
    for library, found in words.advice(results).items():
        stages = [f"{one.stage} `{one.method}` {_cost(results, one)}{_compared(one)}" for one in found]
        yield f"- With only {library}: {', '.join(stages)}"
    yield ""


def _compared(one: Advice) -> str:
    """The comparison with the library's other methods, in brackets."""
    found = words.compared(one)
    return f" ({escaped(found)})" if found else ""


def timm_csv(results: Results) -> str:
    """`results.csv`: a row for each variant. For classification, timm's columns come first, in timm's order.

    `interpolation` is the resize method, `crop_pct` is 1 since shards are already cropped, and `param_count` is empty.
    The model's stages come last.
    """
    buffer = io.StringIO()
    figures = _TIMM if results.metric == "top1" else ("model", results.metric)
    columns = [*figures, "variant", *_OWN, *MODEL_STAGES]
    writer = csv.DictWriter(buffer, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for line in (results.reference, *results.lines):
        writer.writerow(_timm_row(line, results))
    return buffer.getvalue()


def _timm_row(line: Line, results: Results) -> dict[str, object]:
    geometry = results.shards.reference.summary["geometry"]
    size = size_from_json(geometry["size"])
    figures = {name: f"{value:.3f}" for name, value in line.figures.items()}
    errors = {f"{name}_err": f"{100 - value:.3f}" for name, value in line.figures.items()}
    return {
        "model": results.model,
        **figures,
        **errors,
        "param_count": "",
        "img_size": "x".join(map(str, size[:1] if geometry["name"] in CROPPED else size)) or 0,
        "crop_pct": "1.000",
        "interpolation": line.stages["resize"],
        "variant": line.name,
        "n": len(results.keys),
        "delta": f"{line.delta:.3f}",
        "ci95_low": f"{line.ci95[0]:.3f}",
        "ci95_high": f"{line.ci95[1]:.3f}",
        "p": f"{line.p:.6g}",
        "p_holm": f"{line.p_holm:.6g}",
        "lost": line.lost,
        "gained": line.gained,
        "degenerate": str(line.degenerate).lower(),
        "mean_residual": "" if line.mean_residual is None else f"{line.mean_residual:.4f}",
        **{stage: line.stages[stage] for stage in MODEL_STAGES},
    }
