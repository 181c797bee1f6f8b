"""The results as text: the terminal's summary, `report.md` in the paper's layout, `results.csv` in timm's columns."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

from generators.registry import STAGES
from pipelines.evaluate.results import COMBINED, Line, Results, Stage
from pipelines.text import entry, table

# What a figure is called, by the name that it has in results.json.
METRICS = {"top1": "top-1", "top5": "top-5", "map": "mAP", "miou": "mIoU"}
# timm's validate.py and results/results-imagenet.csv.
_TIMM = ("model", "top1", "top1_err", "top5", "top5_err", "param_count", "img_size", "crop_pct", "interpolation")
_OWN = ("n", "delta", "ci95_low", "ci95_high", "p", "p_holm", "lost", "gained", "degenerate", "mean_residual")


def number(value: float, digits: int = 2) -> str:
    """A figure with a true minus sign, and no minus before zero."""
    text = f"{value:.{digits}f}"
    return text.replace("-", "−") if float(text) else text.replace("-", "")


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"+{number(value)}" if float(f"{value:.2f}") > 0 else number(value)


def interval(line: Line) -> str:
    """A 95% interval in points: `0.54 to 9.65`."""
    return f"{number(line.ci95[0])} to {number(line.ci95[1])}"


def p_value(p: float) -> str:
    """A p-value to three digits: below 0.001 the figure itself says nothing more."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def note(line: Line) -> str:
    """What to know of a line, in a word or two."""
    if line.degenerate:
        return "same pixels"
    return "significant" if line.significant else ""


def subject(results: Results) -> str:
    """What was scored on what: `squeezenet on imagenet, 300 images, squash 227`."""
    geometry = results.shards.reference.summary["geometry"]
    size = geometry["size"]
    sides = "x".join(map(str, size)) if isinstance(size, list) else str(size or "")
    return (
        f"{results.model} on {results.shards.dataset}, {len(results.keys):,} images, {geometry['name']} {sides}".strip()
    )


def verdict(results: Results) -> str:
    """The main finding, in one sentence."""
    tested = [line for line in results.lines if not line.degenerate]
    if not tested:
        return "Every variant has the reference's pixels: there is nothing to compare."
    worst = max(tested, key=lambda line: line.delta)
    significant = [line for line in tested if line.significant]
    what = METRICS[results.metric]
    if worst.delta <= 0:
        return f"No variant lowers {what} below the reference's {number(results.reference.figures[results.metric])}."
    found = (
        f"The worst mismatch, {worst.name}, costs {number(worst.delta)} points of {what} (95% interval for it alone "
        f"{interval(worst)}; p = {p_value(worst.p)}, {p_value(worst.p_holm)} corrected for the table)."
    )
    if not significant:
        return f"{found} None of the differences can be told from chance on these {len(results.keys):,} images."
    count = "1 variant differs" if len(significant) == 1 else f"{len(significant)} variants differ"
    return f"{found} {count} from the reference by more than chance."


def terminal(results: Results, folder: str) -> str:
    """What is printed when the scoring is done."""
    names = list(results.reference.figures)
    head = [*_head(names), ""]
    rows = [head, *(_row(line, names, line is results.reference) for line in (results.reference, *results.lines))]
    right = frozenset(range(1, len(head) - 1))
    lines = [
        f"{subject(results)}; reference {results.reference.name}",
        "",
        table(rows, right),
        "",
        f"Δ = reference − variant in points of {METRICS[results.metric]}; lost and gained count {results.counted}.",
        "",
    ]
    for name, stage in results.stages.items():
        lines.append(f"{name.capitalize():9} Δ mean {number(stage.mean)}, max {number(stage.max)} ({stage.worst})")
    lines += [*_steps(results), "", *_remarks(results), verdict(results), f"Report: {folder}/report.html"]
    return "\n".join(lines)


def _head(names: Iterable[str]) -> list[str]:
    return ["variant", *(METRICS[name] for name in names), "Δ", "95% interval", "p", "p (Holm)", "lost", "gained"]


def _row(line: Line, names: Sequence[str], is_reference: bool) -> list[str]:
    figures = [number(line.figures[name]) if name in line.figures else "–" for name in names]
    if is_reference:
        return [line.name, *figures, "", "", "", "", "", "", "reference"]
    compared = [signed(line.delta), interval(line), p_value(line.p), p_value(line.p_holm)]
    return [line.name, *figures, *compared, f"{line.lost:,}", f"{line.gained:,}", note(line)]


def _chain(results: Results) -> str:
    figures = [f"{results.reference.name} {number(results.reference.figures[results.metric])}"]
    figures += [
        f"+ {step.method} {number(results.line(step.variant).figures[results.metric])}" for step in results.steps
    ]
    return f"Step by step, worst first: {' → '.join(figures)}"


def _wanting(results: Results) -> str:
    return f"The next step needs predictions of {' and '.join(results.missing)}. To make the shards:"


def _steps(results: Results) -> Iterator[str]:
    if results.steps:
        yield _chain(results)
    if results.missing:
        yield _wanting(results)
        yield f"  {entry('generate.py')}{results.commands[0].removeprefix('generate.py')}"


def _steps_markdown(results: Results) -> Iterator[str]:
    if results.steps:
        yield from (_cell(_chain(results)), "")
    if results.missing:
        yield from (
            _cell(_wanting(results)),
            "",
            "```sh",
            f"python {results.commands[0]}",
            "```",
            "",
        )


def _remarks(results: Results) -> Iterator[str]:
    if results.left_out:
        yield f"Left out: {results.left_out:,} samples that failed in some variant or have no ground truth."
    for names in results.alike:
        yield f"Same pixels on every image (degenerate): {', '.join(names)}."
    yield from results.notes


def markdown(results: Results) -> str:
    """`report.md`: a row in the layout of the paper's tables, then the table of all variants."""
    columns = [stage for stage in (*STAGES, COMBINED) if stage in results.stages]
    heads = {"decode": "Decode", "resize": "Resize", "color": "Color Mode", COMBINED: "Combined"}
    what = METRICS[results.metric]
    cells = [_mean_max(results.stages[stage]) for stage in columns]
    names = list(results.reference.figures)
    lines = [
        f"| Architecture | Trained {what} | " + " | ".join(f"{heads[stage]} Δ {what}" for stage in columns) + " |",
        "| --- | ---: |" + " ---: |" * len(columns),
        f"| {_cell(results.model)} | {number(results.reference.figures[results.metric])} | " + " | ".join(cells) + " |",
        "",
        f"Δ = reference − variant, in points; mean (max) over a stage's methods. {_cell(subject(results))}; "
        f"reference `{results.reference.name}`.",
        "",
        verdict(results),
        "",
        f"| {' | '.join(_head(names))} | |",
        "| --- |" + " ---: |" * (len(names) + 6) + " --- |",
    ]
    for line in (results.reference, *results.lines):
        name, *rest = _row(line, names, line is results.reference)
        lines.append(f"| `{name}` | {' | '.join(rest)} |")
    lines += ["", *_steps_markdown(results), *(f"- {_cell(text)}" for text in _remarks(results))]
    return "\n".join(lines).rstrip() + "\n"


def _mean_max(stage: Stage) -> str:
    return number(stage.mean) if stage.methods == 1 else f"{number(stage.mean)} ({number(stage.max)})"


def _cell(text: str) -> str:
    """Text as Markdown shows it unchanged, in a table as well."""
    return re.sub(r"([\\|<>`*_\[\]])", r"\\\1", text)


def timm_csv(results: Results) -> str:
    """`results.csv`: a row for each variant. For classification, timm's columns come first and in its order.

    The variant stands after the model's name, `interpolation` is the resize method and `crop_pct` 1: shards are cropped
    already. `param_count` is not known here.
    """
    buffer = io.StringIO()
    figures = _TIMM if results.metric == "top1" else ("model", results.metric)
    writer = csv.DictWriter(buffer, [*figures, "variant", *_OWN], lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for line in (results.reference, *results.lines):
        writer.writerow(_timm_row(line, results))
    return buffer.getvalue()


def _timm_row(line: Line, results: Results) -> dict[str, object]:
    size = results.shards.reference.summary["geometry"]["size"]
    figures = {name: f"{value:.3f}" for name, value in line.figures.items()}
    errors = {f"{name}_err": f"{100 - value:.3f}" for name, value in line.figures.items()}
    return {
        "model": results.model,
        **figures,
        **errors,
        "param_count": "",
        "img_size": "x".join(map(str, size)) if isinstance(size, list) else size,
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
    }
