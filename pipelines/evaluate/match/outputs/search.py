"""Which candidates are tried: on a few images first, and the nearest of them on all.

Pixels and box noise cost little, and every model that is tried meets them all. Models cost more, `int8` above all,
which has to be made: the model as it is comes first, then noise of one stage, then compositions of what came nearest,
until outputs are the device's own or no noise brings them nearer. Errors of different stages hardly cancel out, so that
each right stage brings a model nearer to a device that has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from generators.registry import MODEL_STAGES, Method
from pipelines.evaluate.match.outputs.trials import Candidate, Trials, Tried, name_of
from pipelines.progress import say

# What is the device's own is so on every image: few are enough to know it, and to leave out what is far.
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
    """The candidates that come nearest on all `keys`, of which the first few are tried first; the reference is one.

    `pixels` has the names of variants, those with the same pixels together and the reference's first; `noises` all
    methods in the model and behind it that can be tried.
    """
    few = keys[:FEW]
    tried = _tried(trials, pixels, noises, few)
    if len(few) == len(keys):
        return Found(tried, len(tried))
    reference = Candidate(pixels[0])
    nearest = sorted(tried, key=lambda one: one.mean)
    # What is equal on a few images may differ on others.
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
        # What does not apply alone does not in a composition.
        methods = [m for m in noises if m.stage != "boxes" and m.token not in trials.reasons]
        wanted = [more for model in chosen for more in _extensions(model, methods) if more not in seen]
        if wanted:
            say(f"trying the model with {', '.join(dict.fromkeys(map(name_of, wanted)))}")  # int8 takes time to be made
        models = [model for model in dict.fromkeys(wanted) if trials.applies(model)]
        seen.update(wanted)
    return tried


def _unchanged(tried: Sequence[Tried], wave: Sequence[Tried]) -> set[Methods]:
    """The models of a wave that put out just what one before them did on all pixels: there is nothing to compose."""

    def outputs(some: Sequence[Tried]) -> dict[Methods, tuple[bytes, ...]]:
        found: dict[Methods, list[bytes]] = {}
        for one in some:
            found.setdefault(one.candidate.model, []).append(one.digest)
        return {model: tuple(digests) for model, digests in found.items()}

    before = set(outputs(tried).values())
    return {model for model, digests in outputs(wave).items() if digests in before}


def _nearest(tried: Sequence[Tried], extended: set[Methods]) -> list[Methods]:
    """The models that came nearest with any pixels, of those that have not been extended."""
    best: dict[Methods, float] = {}
    for one in tried:
        model = one.candidate.model
        if model not in extended:
            best[model] = min(best.get(model, float("inf")), one.mean)
    return sorted(best, key=lambda model: best[model])[:_BEAM]


def _extensions(model: Methods, methods: Sequence[Method]) -> Iterator[Methods]:
    """The same with noise of one stage more, in order of stages."""
    taken = {method.stage for method in model}
    for method in methods:
        if method.stage not in taken:
            yield tuple(sorted((*model, method), key=lambda one: MODEL_STAGES.index(one.stage)))
