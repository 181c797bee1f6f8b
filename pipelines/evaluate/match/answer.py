"""The answer for people: the verdict in words, how sure it is, the ranking, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from generators.variant import ALL
from pipelines.evaluate.match.measure import Measured
from pipelines.evaluate.match.rank import NEAR, Guess, Place, Ranking
from pipelines.evaluate.match.versions import others_to_make, which_version
from pipelines.evaluate.match.words import like, listed, more_of, percent, some_of, sure
from pipelines.shards import Shards
from pipelines.text import number_of, table

_SHOWN = 10


def answer(shards: Shards, measured: Measured, ranking: Ranking) -> str:
    """The whole answer without the notes."""
    first = ranking.places[0]
    if first.peak == 0:
        verdict = _exact(shards, measured, ranking)
    elif ranking.guess and ranking.guess.likely:
        verdict = _composed(shards, measured, ranking, ranking.guess)
    elif ranking.near:
        verdict = _nearest(shards, measured, ranking)
    else:
        verdict = _far(shards, measured, ranking)
    *lines, next_step = verdict
    return "\n".join([*lines, "", _table(shards, measured, ranking.places), "", next_step])


def _exact(shards: Shards, measured: Measured, ranking: Ranking) -> Iterator[str]:
    first, *others = ranking.places
    images = len(measured.keys)
    yield f"Your device matches {_named(first)} exactly: every pixel of {number_of(images, 'image')}."
    yield from _twins(shards, first)
    if shards.reference.name in first.names:
        yield f"No stage differs from the reference (`{shards.reference.name}`)."
    else:
        yield _stage_line(shards, _stages(shards, first), None)
        if how := _like(shards, first):
            yield f"It {how}."
    if version := which_version(shards, first.names):
        yield version
    if others:
        different = images - max(place.same for place in others)
        which = "every image" if different == images else f"{number_of(different, 'image')} or more"
        yield f"Sure: every other variant here differs in {which}."
    if shards.reference.name in first.names:
        yield "Next: the pixels are those of training; if accuracy drops, look after them (runtime, quantisation)."
    else:
        yield f"Next: score the model on `{first.names[0]}`: its loss there is what this device costs."


def _composed(shards: Shards, measured: Measured, ranking: Ranking, guess: Guess) -> Iterator[str]:
    first, names = ranking.places[0], guess.sums[0]
    yield f"No variant matches. It may be `{'+'.join(names)}`, which is not in the shards, or something like it: the"
    yield (
        f"summed differences of {listed(names)} explain {guess.explained:.0%} of the squared error that the nearest "
        f"variant leaves ({_named(first)}, mean |Δ| {first.mean:.2f})."
    )
    yield _stage_line(shards, shards.changed_stages(names[0])[0], guess)
    yield sure(len(measured.keys), guess.first, "this sum came first", "")
    command = shards.command(_joined(guess))
    yield f"Next: make these variants and match again; the right one agrees in every pixel:\n  {command}"


def _nearest(shards: Shards, measured: Measured, ranking: Ranking) -> Iterator[str]:
    first, *others = ranking.places
    second = f"; next: `{others[0].names[0]}`, {others[0].mean:.2f}" if others else ""
    equal = f", every pixel of {first.same} of {number_of(len(measured.keys), 'image')}" if first.same else ""
    yield f"Nearest: {_named(first)} (mean |Δ| {first.mean:.2f}{equal}{second}). No variant matches exactly."
    yield from _twins(shards, first)
    stage = _stage(shards, first)
    alike = sum(place.first for place in ranking.places if _stage(shards, place) == stage)
    yield _stage_line(shards, _stages(shards, first), ranking.guess)
    if how := _like(shards, first):
        yield f"That one {how}."
    more = f"; a variant that differs first at {stage}, in {percent(alike)}" if stage else ""
    yield sure(len(measured.keys), first.first, f"`{first.names[0]}` came first", more)
    existing = [variant.stages for variant in shards.variants.values()]
    missing = more_of(stage, existing) if stage else []
    missing += others_to_make(shards, first.names[0]) if first.mean < NEAR else []
    missing = missing or more_of(None, existing) or [ALL]
    command = shards.command([*_joined(ranking.guess), *missing])
    yield (
        f"Next: make more variants and match again; until one agrees in every pixel, `{first.names[0]}` is a "
        f"stand-in:\n  {command}"
    )


def _far(shards: Shards, measured: Measured, ranking: Ranking) -> Iterator[str]:
    first = ranking.places[0]
    what = f"farther from the dump than from `{ranking.neighbour}`" if ranking.neighbour else "the only one here"
    yield f"No variant is near: the nearest, {_named(first)} (mean |Δ| {first.mean:.2f}), is {what}."
    yield from _twins(shards, first)
    yield "The first stage that differs is unknown: something else differs more than the variants do."
    yield sure(len(measured.keys), first.first, f"`{first.names[0]}` came first", "")
    config = shards.config
    yield (
        f"Next: check that the dump is the model's input for these files, not compressed, with the shards' geometry\n"
        f"({config['geometry']}), and that --mean, --std and --scale are the device's. Then make more methods:\n"
        f"  {shards.command(more_of(None, (variant.stages for variant in shards.variants.values())) or [ALL])}"
    )


def _stage(shards: Shards, place: Place) -> str | None:
    """The first stage at which a place's first variant differs from the reference; None for the reference itself."""
    return next(iter(shards.changed_stages(place.names[0])), None)


def _stages(shards: Shards, place: Place) -> str | None:
    """The first stages at which a place's variants differ, as `decode or color`; None if one is the reference."""
    found = dict.fromkeys(next(iter(shards.changed_stages(name)), None) for name in place.names)
    return None if None in found else " or ".join(stage for stage in found if stage)


def _like(shards: Shards, place: Place) -> str:
    return like((shards.variants[name].stages for name in place.names), shards.reference.stages)


def _stage_line(shards: Shards, stage: str | None, guess: Guess | None) -> str:
    start = f"First stage that differs from the reference (`{shards.reference.name}`)"
    start += ":" if guess is None else ", if it is one of these methods:"
    if stage is None:
        return f"{start} unknown, as the reference itself is the nearest."
    others = {found: names for names in _sums(guess)[::-1] if (found := shards.changed_stages(names[0])[0]) != stage}
    or_else = "".join(f", or {other}: `{'+'.join(names)}` would fit as well" for other, names in others.items())
    return f"{start} {stage}{or_else}."


def _sums(guess: Guess | None) -> tuple[tuple[str, ...], ...]:
    return guess.sums if guess else ()


def _joined(guess: Guess | None) -> list[str]:
    return ["+".join(names) for names in _sums(guess)]


def _twins(shards: Shards, place: Place) -> Iterator[str]:
    """A line on variants with the same pixels, if there are several."""
    if len(place.names) == 1:
        return
    everywhere = len({shards.variants[name].pixels_sha256 for name in place.names}) == 1
    where = "on all samples of the shards" if everywhere else "on these images, but not on all: dump more images"
    yield f"{listed(place.names)} are tied: they have the same pixels {where}."


def _named(place: Place) -> str:
    return " = ".join(f"`{name}`" for name in place.names)


def _table(shards: Shards, measured: Measured, places: Sequence[Place]) -> str:
    images = len(measured.keys)
    rows: list[Sequence[str]] = [("rank", "variant", "differs at", "mean |Δ|", "max |Δ|", "identical", "nearest on")]
    for number, place in enumerate(places[:_SHOWN], start=1):
        stages = ", ".join(shards.changed_stages(place.names[0])) or "–"
        same = f"{place.same} of {images}"
        row = (str(number), some_of(place.names), stages, f"{place.mean:.2f}", str(place.peak), same)
        rows.append((*row, f"{place.nearest:.0%}"))
    shown = table(rows, right=frozenset({0, 3, 4, 5, 6}))
    return shown if len(places) <= _SHOWN else f"{shown}\n… and {len(places) - _SHOWN} farther"
