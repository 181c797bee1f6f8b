"""What scoring a model would make and run, in a few lines, before any of it is done."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipelines.evaluate.predictions import ABOUT
from pipelines.evaluate.scored_model import ScoredModel
from pipelines.text import number_of


def plan_of(model: ScoredModel) -> str:
    """The shards, the noised models and the predictions that the asked variants need, and how many of each exist."""
    pixels = list(dict.fromkeys([model.base.pixels, *(variant.pixels for variant in model.asked)]))
    missing = [name for name in pixels if name not in model.existing]
    scored = [variant for variant in model.asked if variant.name not in model.reasons]
    noised = dict.fromkeys("+".join(method.token for method in variant.model) for variant in scored)
    names = [model.base.name, *(variant.name for variant in scored)]
    kept = _predicted(model.predictions) & set(names)
    lines = [
        f"{model.path.name} on {model.dataset}, {number_of(model.images, 'image')}, in {model.root}; "
        f"reference {model.base.name}",
        f"  shards: {number_of(len(pixels), 'variant')} of the pixels, {_to_make(missing)}",
        f"  models: {_models(noised)}",
        f"  predictions: {number_of(len(names), 'variant')}, {number_of(model.images * len(names), 'image')} through "
        f"{number_of(len({'', *noised}), 'model')}; {number_of(len(kept), 'variant')} already predicted",
        *(f"  does not apply: {name}: {reason}" for name, reason in model.reasons.items()),
    ]
    if model.compositions:
        lines.append(f"  then at most {number_of(model.compositions, 'composition')} of each stage's worst methods")
    return "\n".join(lines)


def _models(names: Iterable[str]) -> str:
    noised = [name for name in names if name]
    return f"as it is, and with {', '.join(noised)}" if noised else "as it is"


def _to_make(names: Sequence[str]) -> str:
    return f"{len(names)} to be made: {', '.join(names)}" if names else "none to be made"


def _predicted(folder: Path) -> set[str]:
    """The variants that a folder of predictions names; whether they are still valid is checked when they are needed."""
    try:
        return set(json.loads((folder / ABOUT).read_bytes())["variants"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()
