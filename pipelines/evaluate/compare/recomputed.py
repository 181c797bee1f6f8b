"""Checks a report against its own predictions: they are scored again, and every figure must come out the same.

Facts that predictions do not show are taken on trust: the model's name, digest and size, and why a variant does not
apply.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.errors import UsageError
from pipelines.evaluate.compare.report import RESULTS, Report
from pipelines.evaluate.evidence import scored_set
from pipelines.evaluate.options import Options
from pipelines.evaluate.results import Results
from pipelines.evaluate.results_json import as_json
from pipelines.evaluate.run import of_predictions
from pipelines.options import Inputs

# The fields that are recomputed and published. `left_out` depends on the shards; `counted` and `unit` are words.
_RECOMPUTED = (
    *("dataset", "geometry", "reference", "metric", "iou_type", "unit", "n", "left_out", "counted", "variants"),
    *("stages", "steps", "paper_steps", "combined", "same_pixels", "set"),
)
# Tolerance for figures: sums in another order differ in the last digits.
_NEAR = 1e-9
_SHOWN = 3
# Bounds of the values in `scored_with`; a seed may be any whole number.
_WITHIN: Mapping[str, tuple[int, float]] = {
    "class_offset": (-1_000_000, 1_000_000),
    "resamples": (1, 1_000_000),
    "seed": (0, math.inf),
}


def recomputed(
    report: Report, predictions: str, shards: str, annotations: str | None
) -> tuple[Results, dict[str, Any]]:
    """The results of a report's predictions, and their fields of `results.json`.

    Raises UsageError that names the figures which differ from the report.
    """
    results = of_predictions(_options(report, predictions, shards, annotations))
    own = {**as_json(results), "set": scored_set(results)}
    own = {name: own[name] for name in _RECOMPUTED if name in own}
    claimed = {name: report.raw[name] for name in _RECOMPUTED if name in report.raw}
    wrong = list(_differences("", claimed, own))
    if wrong:
        more = f", and {len(wrong) - _SHOWN:,} more" if len(wrong) > _SHOWN else ""
        raise UsageError(
            f"{report.given} differs from what its predictions give: {'; '.join(wrong[:_SHOWN])}{more}: nothing is "
            "published"
        )
    return results, own


def _options(report: Report, predictions: str, shards: str, annotations: str | None) -> Options:
    """The options that made the report, with predictions in place of the model."""
    scored_with = report.raw["scored_with"]
    coco = report.dataset == "coco"
    return Options(
        shards=shards,
        predictions=predictions,
        variants=tuple(report.lines),
        inputs=Inputs(annotations=annotations),
        class_offset=_whole(scored_with, "class_offset"),
        iou_type="segm" if report.raw.get("iou_type") == "segm" else None,
        boxes="shard" if scored_with.get("boxes") == "shard" else None,
        allow_empty=coco,
        resamples=_whole(scored_with, "resamples"),
        seed=_whole(scored_with, "seed"),
        name=report.name,
    )


def _whole(scored_with: Mapping[str, Any], name: str) -> int | None:
    value = scored_with.get(name)
    least, most = _WITHIN[name]
    if value is not None and (type(value) is not int or not least <= value <= most):
        raise UsageError(f"scored_with.{name} in {RESULTS} is {value!r}, which is invalid")
    return value


def _differences(where: str, claimed: Any, own: Any) -> Iterator[str]:
    """Where two JSON values differ, and how."""
    if isinstance(claimed, Mapping) and isinstance(own, Mapping):
        for name in dict.fromkeys([*own, *claimed]):
            yield from _differences(f"{where}.{name}" if where else name, claimed.get(name), own.get(name))
    elif isinstance(claimed, list) and isinstance(own, list) and len(claimed) == len(own):
        for place, (one, other) in enumerate(zip(claimed, own, strict=True)):
            yield from _differences(f"{where}[{place}]", one, other)
    elif not _equal(claimed, own):
        yield f"{where} is {_shown(claimed)}, but {_shown(own)} from its predictions"


def _equal(one: Any, other: Any) -> bool:
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (one, other))
    return (
        math.isclose(one, other, rel_tol=_NEAR, abs_tol=_NEAR) if numbers else type(one) is type(other) and one == other
    )


def _shown(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) < 60 else f"{text[:60]}…"
