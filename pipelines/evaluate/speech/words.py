"""What all forms of the report on speech say alike: figures as text, and the sentences about them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from pipelines.evaluate.report.words import Compared, p_equals
from pipelines.evaluate.speech.results import Line, Results
from pipelines.style.stages import COMBINED

DASH = "–"
# The heads of the row, by stage.
HEADS: Mapping[str, str] = MappingProxyType(
    {"resample": "Resampling", "stft": "STFT operator", "fp16": "FP16", "int8": "INT8"}
)
# Below this, four digits after the point would hide what differs.
_SMALL = 5e-4
# Variants that a line names.
_NAMED = 6
_NOT_SCORED = "not among the variants that were scored"


class Cell(NamedTuple):
    """A cell of the row: its head, its figure, the variant that its interval is of; or why there is a dash."""

    column: str
    head: str
    text: str
    line: Line | None
    reason: str


def number(value: float) -> str:
    """A figure: `0.1324`, or `4.4e−06` where that would be nothing."""
    text = f"{value:.4f}" if abs(value) >= _SMALL or not value else f"{value:.1e}"
    return text.replace("-", "−")


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"+{number(value)}" if value > 0 else number(value)


def interval(line: Compared) -> str:
    """A 95% interval: `0.0312 to 0.0401`."""
    return f"{number(line.ci95[0])} to {number(line.ci95[1])}"


def note(line: Line) -> str:
    """What to know of a line, in a word or two."""
    if line.degenerate:
        return "same mels"
    if line.unchanged:
        return "changed nothing"
    return "significant" if line.significant else ""


def subject(results: Results) -> str:
    """What was scored on what: `hifigan on speech, 12 recordings, 80 bands, 22,050 Hz`."""
    mel = results.shards.reference.summary["mel"]
    count = "1 recording" if results.count == 1 else f"{results.count:,} recordings"
    return f"{results.model} on {results.shards.dataset}, {count}, {mel['bands']} bands, {mel['rate']:,} Hz"


def against(results: Results) -> str:
    """What predictions were compared with."""
    if results.against == "variant":
        return "Predictions are compared with the mels of their variant: how far the model is from what it is to be."
    return "Predictions are compared with the reference's mels, whatever the variant that they were made from."


def row(results: Results) -> list[Cell]:
    """The row of the model: the mean (and maximum) of each stage of mels, then each precision."""
    cells = [_stage(results, stage) for stage in ("resample", "stft")]
    return cells + [_one(results, token) for token in ("fp16", "int8")]


def _stage(results: Results, name: str) -> Cell:
    stage = results.stages.get(name)
    if stage is None:
        return Cell(name, HEADS[name], DASH, None, _NOT_SCORED)
    text = number(stage.mean) if stage.methods == 1 else f"{number(stage.mean)} ({number(stage.max)})"
    return Cell(name, HEADS[name], text, next(line for line in results.lines if line.name == stage.worst), "")


def _one(results: Results, token: str) -> Cell:
    line = next((line for line in results.lines if line.name == token), None)
    if line is None:
        return Cell("precision", HEADS[token], DASH, None, results.not_applicable.get(token, _NOT_SCORED))
    return Cell("precision", HEADS[token], number(line.delta), line, "")


def certainty(line: Line) -> tuple[str, ...]:
    """`95% 0.01 to 0.03` and `p = 0.020`, Holm's."""
    return f"95% {interval(line)}", f"p {p_equals(line.p_holm)}"


def verdict(results: Results) -> str:
    """The main findings: the worst single mismatch, and how many differ by more than chance."""
    tested = [line for line in results.lines if not line.same]
    if not results.lines:
        return "The reference alone was scored: there is nothing to compare."
    if not tested:
        return "No variant changes anything: there is nothing to compare."
    worst = max([line for line in tested if line.stage != COMBINED] or tested, key=lambda line: line.delta)
    if worst.delta <= 0:
        return f"No variant raises the MSE above the reference's {number(results.reference.mse)}."
    p = f"p {p_equals(worst.p)}; corrected for the table, p {p_equals(worst.p_holm)}"
    cost = (
        f"The worst mismatch, {worst.name}, raises the MSE by {number(worst.delta)} from "
        f"{number(results.reference.mse)} (95% interval for it alone {interval(worst)}; {p})."
    )
    return f"{cost} {_significant(results, sum(line.significant for line in tested))}"


def _significant(results: Results, found: int) -> str:
    if found:
        count = "1 variant differs" if found == 1 else f"{found} variants differ"
        return f"{count} from the reference by more than chance."
    return f"None of the differences can be told from chance on {results.count:,} recordings."


def remarks(results: Results) -> Iterator[str]:
    """Lines about how predictions were read, what was left out and what is alike."""
    yield against(results)
    yield from results.taken
    yield from _other_lengths(results)
    if results.left_out:
        yield f"Left out: {results.left_out:,} recordings that failed in some variant."
    for names in results.alike:
        yield f"Same mels on every recording (degenerate): {', '.join(names)}."
    resampled = [line for line in results.lines if line.stage == "resample"]
    if resampled and all(line.degenerate for line in resampled):
        yield "The recordings have the mels' rate already: no method of resampling does anything."
    if results.count == 1:
        yield "A single recording says nothing of others: there are no intervals."
    yield from results.notes


def _other_lengths(results: Results) -> Iterator[str]:
    lines = [results.reference, *results.lines]
    counts = {line.name: line.other_length for line in lines if line.other_length}
    if not counts:
        return
    few = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    where = (
        few if len(counts) <= _NAMED else f"up to {max(counts.values()):,} in {len(counts)} of {len(lines)} variants"
    )
    yield f"Recordings with more frames predicted than mels have, or fewer, are compared over what both have: {where}."


def joined(reasons: Mapping[str, str]) -> list[tuple[str, str]]:
    """The variants that have no score, joined where the reason is the same, and the reason."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, reason in reasons.items():
        found[reason].append(name)
    return [(", ".join(names), reason) for reason, names in found.items()]
