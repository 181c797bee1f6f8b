"""The figures of `results.json`; `pipelines.evaluate.evidence` adds what was scored and how."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pipelines.evaluate.results import Line, Results
from pipelines.evaluate.steps import Step


def as_json(results: Results) -> dict[str, Any]:
    """The results as JSON values. Figures are in percent, differences in percentage points."""
    return {
        "model": results.model,
        "dataset": results.shards.dataset,
        "geometry": results.shards.reference.summary["geometry"],
        "reference": results.reference.name,
        "metric": results.metric,
        **({"iou_type": results.iou_type} if results.iou_type else {}),
        "unit": "percent",
        "n": len(results.keys),
        "left_out": results.left_out,
        "counted": results.counted,
        "variants": {line.name: _variant_json(line, results) for line in (results.reference, *results.lines)},
        "stages": {
            name: {"mean": stage.mean, "max": stage.max, "worst": stage.worst, "methods": stage.methods}
            for name, stage in results.stages.items()
        },
        "steps": [_step_json(step, results) for step in results.steps],
        "paper_steps": [_step_json(step, results) for step in results.paper_steps],
        "combined": results.combined and _combined_json(results.combined),
        "not_applicable": dict(results.not_applicable),
        "missing": {
            "variants": list(results.missing),
            "command": results.commands[0] if results.commands else None,
            "commands": list(results.commands),
        },
        "advice": [asdict(advice) for advice in results.advice],
        "same_pixels": [list(group) for group in results.alike],
        "notes": [*filter(None, [results.doubt]), *results.notes],
    }


def _step_json(step: Step, results: Results) -> dict[str, Any]:
    line = results.line(step.variant)
    figures = {results.metric: line.figures[results.metric], "delta": line.delta}
    return {"stage": step.stage, "method": step.method, "variant": step.variant, **figures}


def _combined_json(line: Line) -> dict[str, Any]:
    return {"variant": line.name, "delta": line.delta, "ci95": list(line.ci95), "p": line.p, "p_holm": line.p_holm}


def _variant_json(line: Line, results: Results) -> dict[str, Any]:
    return {
        "stages": dict(line.stages),
        "n": len(results.keys),
        **line.figures,
        **({"iou": dict(line.by_class)} if line.by_class else {}),
        "delta": line.delta,
        "ci95": list(line.ci95),
        "p": line.p,
        "p_holm": line.p_holm,
        "lost": line.lost,
        "gained": line.gained,
        "degenerate": line.degenerate,
        "unchanged": line.unchanged,
        "mean_residual": line.mean_residual,
    }
