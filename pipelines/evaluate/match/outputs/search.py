"""Chooses which candidates to try: on a few images first, and the nearest of them on all.

Pixels and box noise are cheap, so each model is tried with all of them. Models are expensive, above all `int8`, which
must be made. The unchanged model is tried first, then noise of one stage, then compositions of the nearest, until the
outputs are the device's or no noise brings them nearer. Errors of different stages rarely cancel out, so that each
right stage brings a model nearer to the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from generators.registry import MODEL_STAGES, Method
from pipelines.evaluate.match.outputs.trials import Candidate, Trials, Tried, name_of
from pipelines.progress import say

# The right candidate fits every image, so that few are enough to find it, and to exclude those that are far.
FEW = 8
# How many models are extended by a stage at a time, and how many candidates are tried on all images.
_BEAM = 3
_KEPT = 24

Methods = tuple[Method, ...]


class Found(NamedTuple):
    """The candidates that came nearest, and how many were tried in all."""

    tried: list[Tried]
    total: int


def search(trials: Trials, pixels: Sequence[tuple[str, ...]], noises: Sequence[Method], keys: Sequence[str]) -> Found:
    """The candidates that come nearest on all `keys`, and the reference; the first few keys are tried first.

    `pixels` has the names of variants, grouped by equal pixels, the reference's group first; `noises` has all methods
    of model and box noise to try.
    """
    few = keys[:FEW]
    tried = _tried(trials, pixels, noises, few)
    if len(few) == len(keys):
        return Found(tried, len(tried))
    reference = Candidate(pixels[0])
    nearest = sorted(tried, key=lambda one: one.mean)
    # Candidates that are equal on a few images may differ on others.
    kept = [one.candidate for place, one in enumerate(nearest) if place < _KEPT or one.equal]
    return Found(trials.measure(dict.fromkeys([*kept, reference]), keys), len(tried))


def _tried(
    trials: Trials, pixels: Sequence[tuple[str, ...]], noises: Sequence[Method], keys: Sequence[str]
) -> list[Tried]:
    boxes = [None, *(method for method in noises if method.stage == "boxes")]
    tried: list[Tried] = []
    seen: set[Methods] = {()}
    extended: set[Methods] = set()
    models: list[Methods] = [()]
    best = float("inf")
    while models:
        wave = trials.measure([Candidate(p, model, b) for model in models for p in pixels for b in boxes], keys)
        extended.update(_unchanged(tried, wave))
        tried += wave
        nearest = min((one.mean for one in wave), default=best)
        if any(one.equal for one in wave) or (nearest >= best and extended):
            break
        best = nearest
        chosen = _nearest(tried, extended)
        extended.update(chosen)
        # Noise that does not apply by itself does not apply in a composition.
        methods = [m for m in noises if m.stage != "boxes" and m.token not in trials.reasons]
        wanted = [more for model in chosen for more in _extensions(model, methods) if more not in seen]
        if wanted:
            say(f"trying the model with {', '.join(dict.fromkeys(map(name_of, wanted)))}")  # int8 takes time to be made
        models = [model for model in dict.fromkeys(wanted) if trials.applies(model)]
        seen.update(wanted)
    return tried


def _unchanged(tried: Sequence[Tried], wave: Sequence[Tried]) -> set[Methods]:
    """The models of a wave with the same outputs on all pixels as an earlier one: composing them adds nothing."""

    def outputs(some: Sequence[Tried]) -> dict[Methods, tuple[bytes, ...]]:
        found: dict[Methods, list[bytes]] = {}
        for one in some:
            found.setdefault(one.candidate.model, []).append(one.digest)
        return {model: tuple(digests) for model, digests in found.items()}

    before = set(outputs(tried).values())
    return {model for model, digests in outputs(wave).items() if digests in before}


def _nearest(tried: Sequence[Tried], extended: set[Methods]) -> list[Methods]:
    """The models that came nearest with any pixels, among those that have not been extended."""
    best: dict[Methods, float] = {}
    for one in tried:
        model = one.candidate.model
        if model not in extended:
            best[model] = min(best.get(model, float("inf")), one.mean)
    return sorted(best, key=lambda model: best[model])[:_BEAM]


def _extensions(model: Methods, methods: Sequence[Method]) -> Iterator[Methods]:
    """The model with noise of one more stage, in order of stages."""
    taken = {method.stage for method in model}
    for method in methods:
        if method.stage not in taken:
            yield tuple(sorted((*model, method), key=lambda one: MODEL_STAGES.index(one.stage)))
