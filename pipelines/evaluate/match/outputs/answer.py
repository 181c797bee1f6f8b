"""The answer from outputs, for people: the verdict in words, how sure it is, the ranking, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from generators.registry import PIXEL_STAGES
from generators.variant import ALL
from pipelines.evaluate.match.outputs.compare import Comparison
from pipelines.evaluate.match.outputs.rank import Place
from pipelines.evaluate.match.versions import which_version
from pipelines.evaluate.match.words import like, listed, more_of, percent, sure
from pipelines.shards import Shards
from pipelines.text import number_of, table

_SHOWN = 10
# How many tied names a sentence and a table's cell have.
_NAMED, _IN_TABLE = 3, 2


class Ranked(NamedTuple):
    """The ranking on `images` images, of `total` candidates, and whether the first is near. `scoring` has score.py's
    options for the model.
    """

    shards: Shards
    comparison: Comparison
    places: Sequence[Place]
    images: int
    total: int
    near: bool
    scoring: str

    def names(self, place: Place) -> list[str]:
        return [name for candidate in place.candidates for name in candidate.named(self.shards)]

    def stage(self, place: Place) -> str | None:
        """The first stage at which a place's first candidate differs from the reference; None for the reference."""
        return next(iter(place.candidates[0].stages(self.shards)), None)

    @property
    def is_reference(self) -> bool:
        """Whether the reference is in the first place."""
        return self.shards.reference.name in self.names(self.places[0])


def answer(ranked: Ranked) -> str:
    """The whole answer without the notes."""
    first = ranked.places[0]
    if first.close == ranked.images:
        verdict = _matching(ranked, first)
    elif ranked.near:
        verdict = _nearest(ranked, first)
    else:
        verdict = _far(ranked, first)
    *lines, next_step = verdict
    return "\n".join([*lines, "", _table(ranked), "", next_step])


def _matching(ranked: Ranked, first: Place) -> Iterator[str]:
    what = "box" if ranked.comparison.decoded else "value"
    how = "exactly" if first.equal == ranked.images else "within another runtime's rounding"
    yield (
        f"Your device's outputs are the model's on {_named(ranked, first)}, {how}: every {what} of "
        f"{number_of(ranked.images, 'image')}."
    )
    yield from _twins(ranked, first)
    if ranked.is_reference:
        yield f"No stage differs from the reference (`{ranked.shards.reference.name}`)."
    else:
        yield _stage_line(ranked, first)
        if how := _like(ranked, first):
            yield f"It {how}."
    pixels = [name for candidate in first.candidates for name in candidate.pixels]
    if version := which_version(ranked.shards, pixels):
        yield version
    yield from _others(ranked, first)
    if ranked.is_reference:
        yield "Next: nothing before the outputs differs; if accuracy drops, look after them (labels, thresholds)."
    else:
        name = ranked.names(first)[0]
        yield f"Next: score it; the model's loss there is what this device costs:\n  {_score(ranked, name)}"


def _others(ranked: Ranked, first: Place) -> Iterator[str]:
    """How sure a match is."""
    others = ranked.places[1:]
    exact = first.equal == ranked.images
    alike = [] if exact else [ranked.names(place)[0] for place in others if place.close == ranked.images]
    if alike:
        yield f"{listed(alike[:_NAMED])}{_more(alike)} fit as well: such rounding could hide the difference."
        yield sure(ranked.images, first.first, f"`{ranked.names(first)[0]}` came first")
    elif others:
        different = ranked.images - max(place.equal if exact else place.close for place in others)
        which = "every image" if different == ranked.images else f"{number_of(different, 'image')} or more"
        yield f"Sure: everything else that was tried differs {'' if exact else 'by more '}in {which}."


def _nearest(ranked: Ranked, first: Place) -> Iterator[str]:
    name = ranked.names(first)[0]
    others = ranked.places[1:]
    second = f"; next: `{ranked.names(others[0])[0]}`, {others[0].mean:.3g}" if others else ""
    yield (
        f"Nearest: {_named(ranked, first)} ({_head(ranked)} {first.mean:.3g}{second}). Nothing that was tried gives "
        "the same outputs."
    )
    yield from _twins(ranked, first)
    yield _stage_line(ranked, first)
    yield _sure(ranked, first)
    hint = ""
    if any(method.calibrated for method in first.candidates[0].model):
        hint = " A device's int8 has its own ranges, and cannot be matched exactly."
    pixels = ranked.stage(first)
    existing = [variant.stages for variant in ranked.shards.variants.values()]
    missing = more_of(pixels if pixels in PIXEL_STAGES else None, existing) or more_of(None, existing) or [ALL]
    yield (
        f"Next: make more variants and match again; until one gives the same outputs, `{name}` is a stand-in.{hint}\n"
        f"  {ranked.shards.command(missing)}"
    )


def _far(ranked: Ranked, first: Place) -> Iterator[str]:
    yield (
        f"Nothing is near: the nearest, {_named(ranked, first)} ({_head(ranked)} {first.mean:.3g}), is farther from "
        "the device than from most of the other candidates."
    )
    yield from _twins(ranked, first)
    yield "The first stage that differs is unknown: something else differs more than the variants and noise do."
    yield _sure(ranked, first)
    units = "boxes in source pixels (or --boxes shard)" if ranked.comparison.decoded else "neither scaled nor shifted"
    yield (
        f"Next: check that these are the outputs of this model for these files, {units}, and that\n"
        f"its preprocessing and the shards' geometry ({ranked.shards.config['geometry']}) are the device's. Then make "
        "more methods:\n"
        f"  {ranked.shards.command(more_of(None, (v.stages for v in ranked.shards.variants.values())) or [ALL])}"
    )


def _sure(ranked: Ranked, first: Place) -> str:
    stage = ranked.stage(first)
    alike = sum(place.first for place in ranked.places if ranked.stage(place) == stage)
    more = f"; one that differs first at {stage}, in {percent(min(alike, 1.0))}" if stage else ""
    return sure(ranked.images, first.first, f"`{ranked.names(first)[0]}` came first", more)


def _like(ranked: Ranked, place: Place) -> str:
    variants = [ranked.shards.variants[name] for one in place.candidates for name in one.pixels]
    return like((variant.stages for variant in variants), ranked.shards.reference.stages)


def _stage_line(ranked: Ranked, first: Place) -> str:
    start = f"First stage that differs from the reference (`{ranked.shards.reference.name}`)"
    if ranked.is_reference:
        return f"{start}: unknown, as the reference itself is the nearest."
    found = dict.fromkeys(stages[0] for one in first.candidates if (stages := one.stages(ranked.shards)))
    return f"{start}: {' or '.join(found)}."


def _twins(ranked: Ranked, place: Place) -> Iterator[str]:
    """A line on candidates with the same outputs, if there are several."""
    names = ranked.names(place)
    if len(names) == 1:
        return
    variants = [ranked.shards.variants[name] for one in place.candidates for name in one.pixels]
    if len({one.noise for one in place.candidates}) == 1 and len({v.pixels_sha256 for v in variants}) == 1:
        where = "they have the same pixels on all samples of the shards"
    else:
        where = "they give the same outputs on these images"
    yield f"{listed(names[:_NAMED])}{_more(names)} are tied: {where}."


def _named(ranked: Ranked, place: Place) -> str:
    names = ranked.names(place)
    return " = ".join(f"`{name}`" for name in names[:_NAMED]) + _more(names)


def _more(names: Sequence[str], shown: int = _NAMED) -> str:
    return f" and {len(names) - shown} more" if len(names) > shown else ""


def _head(ranked: Ranked) -> str:
    return ranked.comparison.heads[0]


def _score(ranked: Ranked, name: str) -> str:
    return f"score.py --shards {shlex.quote(str(ranked.shards.root))} {ranked.scoring} --variant {name}"


def _table(ranked: Ranked) -> str:
    mean, peak, agrees = ranked.comparison.heads
    head = ["rank", "variant", "differs at", mean, peak, *([agrees] if agrees else []), "identical", "nearest on"]
    rows: list[Sequence[str]] = [head]
    for number, place in enumerate(ranked.places[:_SHOWN], start=1):
        names = ranked.names(place)
        stages = ", ".join(place.candidates[0].stages(ranked.shards)) or "–"
        row = [
            str(number),
            " = ".join(names[:_IN_TABLE]) + _more(names, _IN_TABLE),
            stages,
            f"{place.mean:.3g}",
            f"{place.peak:.3g}",
        ]
        row += [f"{place.agrees:.0%}"] if agrees and place.agrees is not None else []
        rows.append([*row, f"{place.equal} of {ranked.images}", f"{place.nearest:.0%}"])
    shown = table(rows, right=frozenset({0, *range(3, len(head))}))
    farther = ranked.total - sum(len(place.candidates) for place in ranked.places[:_SHOWN])
    lines = [shown, *([f"… and {farther} farther"] if farther > 0 else [])]
    return "\n".join([*lines, *([ranked.comparison.unit] if ranked.comparison.unit else [])])
