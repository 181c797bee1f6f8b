"""`results.json`: the report's figures for programs."""

from __future__ import annotations

from typing import Any

from pipelines.evaluate.text.results import REFERENCE, Line, Results, TaskResults


def as_json(results: Results) -> dict[str, Any]:
    """The content of `results.json`: a task has what an image report has for its dataset. Figures, perplexities aside,
    are in percent, and their differences in points.
    """
    return {
        "model": results.model,
        "reference": REFERENCE,
        "unit": "percent",
        "tasks": {task.name: _task_json(task, results) for task in results.tasks},
        "not_applicable": dict(results.not_applicable),
        "notes": list(results.notes),
        "made_by": dict(results.made_by),
    }


def _task_json(task: TaskResults, results: Results) -> dict[str, Any]:
    first, *_ = task.figures
    return {
        "metric": first.name,
        "protocol": task.questions.protocol,
        "n": task.count,
        "questions_sha256": task.questions.sha256,
        "chance": {figure.name: figure.chance for figure in task.figures if figure.chance is not None},
        "at_chance": [figure.name for figure in task.figures if figure.at_chance],
        "variants": {
            REFERENCE: {"n": task.count, **{figure.name: figure.reference for figure in task.figures}},
            **{name: _variant_json(task, name) for name in results.variants},
        },
    }


def _variant_json(task: TaskResults, variant: str) -> dict[str, Any]:
    """The figures, and how the first compares; the comparison of any other figure is under its name and `_compared`."""
    first, *others = task.figures
    pairs = [(figure, line) for figure in task.figures if (line := figure.line(variant))]
    main = next((line for figure, line in pairs if figure is first), None)
    return {
        "n": task.count,
        **{figure.name: line.value for figure, line in pairs},
        **(_compared_json(main) | {"degenerate": main.degenerate} if main else {}),
        **{f"{figure.name}_compared": _compared_json(line) for figure, line in pairs if figure in others},
    }


def _compared_json(line: Line) -> dict[str, Any]:
    flips = {} if line.lost is None else {"lost": line.lost, "gained": line.gained}
    return {
        "delta": line.delta,
        "ci95": list(line.ci95),
        "p": line.p,
        "p_holm": line.p_holm,
        **flips,
    }
