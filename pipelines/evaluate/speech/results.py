"""What each variant costs, and whether that is more than chance.

Owns the arithmetic of the report, but not its presentation. A figure is the mean over recordings of the mean square
difference of natural logarithms; Δ = variant − reference, so that a loss is positive, as for images.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from generators.registry import AUDIO_STAGES
from pipelines.evaluate.results import Stage, nothing_changed, stage_of, summarise
from pipelines.evaluate.speech.distance import Distances
from pipelines.evaluate.statistics import Bootstrap, Comparison, holm, paired_bootstrap
from pipelines.shards import Shards

# The stages of speech, in order.
STAGES = (*AUDIO_STAGES, "precision")
# Which spectrograms predictions are compared with.
Against = Literal["reference", "variant"]


@dataclass(frozen=True)
class Line:
    """One variant in the table.

    `stages` has its method for each stage, and `changed` the stages at which it differs from the reference.
    `degenerate` says that it has no model noise and the reference's spectrograms on every recording; `unchanged`, that
    every distance is the reference's. `other_length` counts the predictions with more or fewer frames than the set's.
    `residual_mse` is the distance of its spectrograms from the reference's, None if nothing could be compared.
    """

    name: str
    stages: Mapping[str, str]
    changed: tuple[str, ...]
    mse: float
    delta: float
    ci95: tuple[float, float]
    p: float
    p_holm: float
    degenerate: bool
    unchanged: bool
    other_length: int
    residual_mse: float | None

    @property
    def stage(self) -> str:
        """The stage under which the table lists it; `combined` if it differs at several."""
        return stage_of(self.changed)

    @property
    def same(self) -> bool:
        """Whether it changes no spectrogram or, if it is only model noise, no prediction."""
        return self.degenerate or (self.unchanged and not set(self.changed) & set(AUDIO_STAGES))

    @property
    def significant(self) -> bool:
        """Whether the difference is real at 5%, corrected for the size of the table."""
        return self.p_holm < 0.05


@dataclass(frozen=True)
class Results:
    """Everything in a report.

    `taken` says how predictions were read; `not_applicable` has the reason for each variant without a score; `doubt`
    says why the figures look wrong, and is empty if they do not.
    """

    model: str
    shards: Shards
    against: Against
    count: int
    left_out: int
    reference: Line
    lines: Sequence[Line]
    stages: Mapping[str, Stage]
    alike: Sequence[Sequence[str]]
    taken: Sequence[str] = ()
    not_applicable: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    doubt: str = ""


def compare(model: str, shards: Shards, against: Against, found: Mapping[str, Distances], draw: Bootstrap) -> Results:
    """Compare the distances of all variants with the reference's; p-values are corrected for the table."""
    base = shards.reference.name
    theirs = found[base]
    lines = [_line(shards, name, own, theirs, draw) for name, own in found.items() if name != base]
    corrected = holm([line.p for line in lines])
    lines = [replace(line, p_holm=p) for line, p in zip(lines, corrected, strict=True)]
    return Results(
        model=model,
        shards=shards,
        against=against,
        count=len(theirs.errors),
        left_out=shards.reference.table("key").num_rows - len(theirs.errors),
        reference=_line(shards, base, theirs, theirs, draw),
        lines=lines,
        stages=summarise(lines, STAGES),
        alike=_alike(shards, list(found)),
        notes=[*_contradictions(lines), *nothing_changed(lines)],
    )


def _line(shards: Shards, name: str, own: Distances, theirs: Distances, draw: Bootstrap) -> Line:
    variant = shards.variants[name]
    compared = _compared(theirs.errors, own.errors, draw)
    is_reference = variant is shards.reference
    return Line(
        name=name,
        stages={stage: variant.stages[stage] for stage in STAGES},
        changed=shards.changed_stages(name),
        mse=own.mse,
        delta=compared.delta,
        ci95=(compared.low, compared.high),
        p=compared.p,
        p_holm=compared.p,
        degenerate=not is_reference and not variant.noise and bool(variant.summary["residual"]["degenerate"]),
        unchanged=not is_reference and bool(np.array_equal(own.errors, theirs.errors)),
        other_length=own.other_length,
        residual_mse=variant.summary["residual"]["mse"],
    )


def _compared(theirs: NDArray[np.float64], own: NDArray[np.float64], draw: Bootstrap) -> Comparison:
    """What the variant costs, with a paired bootstrap over recordings; a single one has no interval."""
    differences = own - theirs
    delta = float(own.mean() - theirs.mean())
    if len(differences) == 1 or not differences.any():
        return Comparison(delta, delta, delta, 1.0)
    return paired_bootstrap(delta, draw.values(partial(_means, differences), len(differences)))


def _means(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = weights @ values / len(values)
    return found


def _contradictions(lines: Sequence[Line]) -> Iterator[str]:
    for line in lines:
        if line.degenerate and not line.unchanged:
            yield (
                f"{line.name} has the reference's spectrograms, but its predictions differ (Δ {line.delta:.3g}): they "
                "were made from something else, or the model is not deterministic."
            )


def _alike(shards: Shards, names: Sequence[str]) -> list[list[str]]:
    """The groups of variants with the same spectrograms on every recording."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if not shards.variants[name].noise:
            groups[shards.variants[name].pixels_sha256].append(name)
    return [group for group in groups.values() if len(group) > 1]


def as_json(results: Results) -> dict[str, Any]:
    """The content of `results.json`."""
    shards = results.shards
    return {
        "model": results.model,
        "dataset": shards.dataset,
        "mel": shards.reference.summary["mel"],
        "reference": results.reference.name,
        "metric": "mse",
        "unit": "mean square difference of natural logarithms",
        "against": results.against,
        "n": results.count,
        "left_out": results.left_out,
        "variants": {line.name: _variant_json(line, results) for line in (results.reference, *results.lines)},
        "stages": {
            name: {"mean": stage.mean, "max": stage.max, "worst": stage.worst, "methods": stage.methods}
            for name, stage in results.stages.items()
        },
        "not_applicable": dict(results.not_applicable),
        "same_mels": [list(group) for group in results.alike],
        "notes": [*filter(None, [results.doubt]), *results.taken, *results.notes],
    }


def _variant_json(line: Line, results: Results) -> dict[str, Any]:
    return {
        "stages": dict(line.stages),
        "n": results.count,
        "mse": line.mse,
        "delta": line.delta,
        "ci95": list(line.ci95),
        "p": line.p,
        "p_holm": line.p_holm,
        "degenerate": line.degenerate,
        "unchanged": line.unchanged,
        "other_length": line.other_length,
        "residual_mse": line.residual_mse,
    }
