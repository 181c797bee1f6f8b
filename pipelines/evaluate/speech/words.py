"""Wording that all forms of the report on speech share: figures as text, and sentences about them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from pipelines.evaluate.report.words import Compared, p_equals
from pipelines.evaluate.speech.results import Line, Results
from pipelines.style.stages import COMBINED
from pipelines.text import number_of

DASH = "–"
# The heads of the model's row, by stage.
HEADS: Mapping[str, str] = MappingProxyType(
    {"resample": "Resampling", "stft": "STFT operator", "fp16": "FP16", "int8": "INT8"}
)
# Below this, four decimals would show too little of a figure.
_SMALL = 5e-4
# How many variants a line names.
_NAMED = 6
_NOT_SCORED = "not among the variants that were scored"


class Cell(NamedTuple):
    """A cell of the model's row: head, figure, the variant whose interval it shows, or the reason for a dash."""

    column: str
    head: str
    text: str
    line: Line | None
    reason: str


def number(value: float) -> str:
    """A figure: `0.1324`, or `4.4e−06` if it is small."""
    text = f"{value:.4f}" if abs(value) >= _SMALL or not value else f"{value:.1e}"
    return text.replace("-", "−")


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"+{number(value)}" if value > 0 else number(value)


def interval(line: Compared) -> str:
    """A 95% interval: `0.0312 to 0.0401`."""
    return f"{number(line.ci95[0])} to {number(line.ci95[1])}"


def note(line: Line) -> str:
    """A remark on a line, in a few words."""
    if line.degenerate:
        return "same mels"
    if line.unchanged:
        return "changed nothing"
    return "significant" if line.significant else ""


def subject(results: Results) -> str:
    """What was scored on what: `hifigan on speech, 12 recordings, 80 bands, 22,050 Hz`."""
    mel = results.shards.reference.summary["mel"]
    count, bands = number_of(results.count, "recording"), number_of(mel["bands"], "band")
    return f"{results.model} on {results.shards.dataset}, {count}, {bands}, {mel['rate']:,} Hz"


def against(results: Results) -> str:
    """What predictions were compared with."""
    if results.against == "variant":
        return "Predictions are compared with the mels of their own variant, which the model should have predicted."
    return "Predictions of all variants are compared with the reference's mels."


def row(results: Results) -> list[Cell]:
    """The model's row: the mean (and maximum) of each stage of mels, then each precision."""
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
        return "Only the reference was scored: there is nothing to compare."
    if not tested:
        return "No variant changes anything: there is nothing to compare."
    worst = max([line for line in tested if line.stage != COMBINED] or tested, key=lambda line: line.delta)
    if worst.delta <= 0:
        return f"No variant raises the MSE above the reference's {number(results.reference.mse)}."
    p = f"p {p_equals(worst.p)}; corrected for the table, p {p_equals(worst.p_holm)}"
    cost = (
        f"The worst mismatch, {worst.name}, raises the MSE by {number(worst.delta)} from "
        f"{number(results.reference.mse)} (its own 95% interval {interval(worst)}; {p})."
    )
    return f"{cost} {_significant(results, sum(line.significant for line in tested))}"


def _significant(results: Results, found: int) -> str:
    if found:
        count = "1 variant differs" if found == 1 else f"{found} variants differ"
        return f"{count} from the reference by more than chance."
    return f"No difference is more than chance on {number_of(results.count, 'recording')}."


def remarks(results: Results) -> Iterator[str]:
    """Lines about how predictions were read, what was left out and which variants have the same mels."""
    yield against(results)
    yield from results.taken
    yield from _other_lengths(results)
    if results.left_out:
        yield f"Left out: {number_of(results.left_out, 'recording')} that failed in some variant."
    for names in results.alike:
        yield f"Same mels on every recording (degenerate): {', '.join(names)}."
    resampled = [line for line in results.lines if line.stage == "resample"]
    if resampled and all(line.degenerate for line in resampled):
        yield "The recordings already have the mels' sample rate, so that resampling changes nothing."
    if results.count == 1:
        yield "A single recording says nothing about others, so that there are no intervals."
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
    yield f"If a prediction has more or fewer frames than the mels, the frames that both have are compared: {where}."


def joined(reasons: Mapping[str, str]) -> list[tuple[str, str]]:
    """The variants without a score, joined if they have the same reason, and the reason."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, reason in reasons.items():
        found[reason].append(name)
    return [(", ".join(names), reason) for reason, names in found.items()]
