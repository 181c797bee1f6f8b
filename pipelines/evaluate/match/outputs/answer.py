"""What a person reads of outputs: the verdict in words, how sure it is, the ranking, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from generators.registry import PIXEL_STAGES
from generators.variant import ALL
from pipelines.evaluate.match.outputs.compare import Comparison
from pipelines.evaluate.match.outputs.rank import Place
from pipelines.evaluate.match.versions import which_version
from pipelines.evaluate.match.words import counted, like, listed, more_of, percent, sure
from pipelines.shards import Shards
from pipelines.text import table

_SHOWN = 10
# Names of what is tied, in a sentence and in a table.
_NAMED, _IN_TABLE = 3, 2


class Ranked(NamedTuple):
    """All that there is to say: the places on `images` images, `total` of what was tried, and whether the first is
    near. `scoring` is how the model is named on a command line.
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
    *said, following = verdict
    return "\n".join([*said, "", _table(ranked), "", following])


def _matching(ranked: Ranked, first: Place) -> Iterator[str]:
    what = "box" if ranked.comparison.decoded else "value"
    if first.equal == ranked.images:
        yield (
            f"Your device puts out what the model does on {_named(ranked, first)}, exactly: every {what} of "
            f"{counted(ranked.images)}."
        )
    else:
        yield (
            f"Your device puts out what the model does on {_named(ranked, first)}, but for the rounding of another "
            f"runtime: every {what} of {counted(ranked.images)}."
        )
    yield from _twins(ranked, first)
    if ranked.is_reference:
        yield f"No stage differs from the reference (`{ranked.shards.reference.name}`)."
    else:
        yield _stage_line(ranked, first)
        if said := _like(ranked, first):
            yield f"It {said}."
    pixels = [name for candidate in first.candidates for name in candidate.pixels]
    if version := which_version(ranked.shards, pixels):
        yield version
    yield from _others(ranked, first)
    if ranked.is_reference:
        yield "Next: nothing before the outputs differs; if accuracy drops, look behind them (labels, thresholds)."
    else:
        name = ranked.names(first)[0]
        yield f"Next: score it; what the model loses there is what this device costs:\n  {_score(ranked, name)}"


def _others(ranked: Ranked, first: Place) -> Iterator[str]:
    """How sure a match is."""
    others = ranked.places[1:]
    exact = first.equal == ranked.images
    alike = [] if exact else [ranked.names(place)[0] for place in others if place.close == ranked.images]
    if alike:
        yield f"{listed(alike[:_NAMED])}{_more(alike)} would do as well: they are told apart by no more than that."
        yield sure(ranked.images, first.first, f"`{ranked.names(first)[0]}` came first")
    elif others:
        telling = ranked.images - max(place.equal if exact else place.close for place in others)
        which = "every image" if telling == ranked.images else f"{counted(telling)} or more"
        yield f"Sure: everything else that was tried differs {'' if exact else 'by more '}in {which}."


def _nearest(ranked: Ranked, first: Place) -> Iterator[str]:
    name = ranked.names(first)[0]
    others = ranked.places[1:]
    following = f"; next: `{ranked.names(others[0])[0]}`, {others[0].mean:.3g}" if others else ""
    yield (
        f"Nearest: {_named(ranked, first)} ({_head(ranked)} {first.mean:.3g}{following}). Nothing that was tried puts "
        "out the same."
    )
    yield from _twins(ranked, first)
    yield _stage_line(ranked, first)
    yield _sure(ranked, first)
    hint = ""
    if any(method.calibrated for method in first.candidates[0].model):
        hint = " A device's int8 has ranges of its own, and is not met exactly."
    pixels = ranked.stage(first)
    there = [variant.stages for variant in ranked.shards.variants.values()]
    missing = more_of(pixels if pixels in PIXEL_STAGES else None, there) or more_of(None, there) or [ALL]
    yield (
        f"Next: make what else its pixels may be and match again; until something puts out the same, `{name}` is a "
        f"stand-in.{hint}\n  {ranked.shards.command(missing)}"
    )


def _far(ranked: Ranked, first: Place) -> Iterator[str]:
    yield (
        f"Nothing is near: even the nearest, {_named(ranked, first)} ({_head(ranked)} {first.mean:.3g}), is farther "
        "from the device than most of what was tried is from it."
    )
    yield from _twins(ranked, first)
    yield "Which stage differs first cannot be said: something else differs more than the variants and noise do."
    yield _sure(ranked, first)
    said = "boxes in source pixels (or --boxes shard)" if ranked.comparison.decoded else "neither scaled nor moved"
    yield (
        f"Next: check that these are the outputs of this model for these files, {said}, and that\n"
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
        return f"{start}: cannot be said, as the reference itself is the nearest."
    found = dict.fromkeys(stages[0] for one in first.candidates if (stages := one.stages(ranked.shards)))
    return f"{start}: {' or '.join(found)}."


def _twins(ranked: Ranked, place: Place) -> Iterator[str]:
    """A line on what cannot be told apart here, where there is such."""
    names = ranked.names(place)
    if len(names) == 1:
        return
    variants = [ranked.shards.variants[name] for one in place.candidates for name in one.pixels]
    if len({one.noise for one in place.candidates}) == 1 and len({v.pixels_sha256 for v in variants}) == 1:
        where = "they have the same pixels on all samples of the shards"
    else:
        where = "they put out the same on these images"
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
