"""What a person reads: the verdict in words, how sure it is, the ranking, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from generators.registry import AUDIO_STAGES
from manifests.mels import TOLERANCE
from pipelines.evaluate.match.rank import RESAMPLES
from pipelines.evaluate.match.words import FEW, like, listed, more_of, percent, some_of
from pipelines.evaluate.speech.match.dump import NATURAL, Reading
from pipelines.evaluate.speech.match.rank import Place, Ranking
from pipelines.evaluate.speech.words import number
from pipelines.shards import Shards
from pipelines.text import table

_SHOWN = 10


def answer(shards: Shards, ranking: Ranking, reading: Reading, recordings: int, guess: tuple[str, float] | None) -> str:
    """The whole answer without the notes. `guess` is a composition that is nearer by far, and how near."""
    lines = [*_read(reading)]
    if guess and not ranking.exact:
        lines += _composed(shards, ranking, *guess)
    else:
        lines += _verdict(shards, ranking, recordings)
    lines += _frames(ranking)
    lines += [
        _sure(ranking, recordings),
        "",
        _table(shards, ranking.places, recordings),
        "",
        _next(shards, ranking, guess),
    ]
    return "\n".join(lines)


def _read(reading: Reading) -> Iterator[str]:
    if reading.values != NATURAL:
        yield f"Your dump is {reading.values}: it is compared as natural logarithms, which the set has."
    if reading.shift:
        count = abs(reading.shift)
        when = "later" if reading.shift > 0 else "earlier"
        yield f"Your dump begins {count} frame{'s' if count > 1 else ''} {when} than the set: it is compared shifted."


def _verdict(shards: Shards, ranking: Ranking, recordings: int) -> Iterator[str]:
    first = ranking.places[0]
    if ranking.exact:
        yield f"Your device matches {_named(first)} exactly: every value of {_counted(recordings)}."
    elif first.alike:
        where = "" if first.whole else " over the frames that both have"
        most = f" by more than {number(first.peak)}, and another kind of CPU may by {TOLERANCE:g}" if first.peak else ""
        yield f"Your device matches {_named(first)}{where}: no value differs{most}."
    elif ranking.near:
        yield f"Nearest: {_named(first)} (mean |Δ| {number(first.mean)}). No variant matches exactly."
    else:
        yield (
            f"No variant is near: even the nearest, {_named(first)} (mean |Δ| {number(first.mean)}), is hardly nearer "
            "than the next."
        )
    if ranking.near:
        yield from _about(shards, ranking)


def _about(shards: Shards, ranking: Ranking) -> Iterator[str]:
    """What cannot be told from the first, how it differs from the reference, and what it is not."""
    first = ranking.places[0]
    if len(first.names) > 1:
        yield f"{listed(first.names)} have the same mels of these recordings, and cannot be told apart."
    if ranking.tied:
        names = [name for place in ranking.tied for name in place.names]
        yield f"{listed([first.names[0], *names])} cannot be told apart by this dump."
    alike = [place for place in ranking.places[1:] if place.within] if ranking.exact else []
    if alike:
        names = [name for place in alike for name in place.names]
        yield f"{listed(names)} differ{'s' if len(names) == 1 else ''} from it by less than another kind of CPU may."
    names = [*first.names, *(name for place in ranking.tied for name in place.names)]
    if shards.reference.name in names:
        yield f"No stage differs from the reference (`{shards.reference.name}`), as far as this dump tells."
    else:
        stages = " and ".join(shards.changed_stages(first.names[0]))
        how = like([shards.variants[name].stages for name in names], shards.reference.stages)
        yield f"Stage that differs from the reference (`{shards.reference.name}`): {stages}. It {how}."
    if miss := ranking.miss:
        yield f"Nearest miss: {_named(miss)} (mean |Δ| {number(miss.mean)})."


def _composed(shards: Shards, ranking: Ranking, name: str, distance: float) -> Iterator[str]:
    first = ranking.places[0]
    yield (
        f"No variant matches. It may be `{name}`, which is not in the set: the differences of both added up leave mean "
        f"|Δ| {number(distance)}, where the nearest variant ({_named(first)}) leaves {number(first.mean)}."
    )


def _frames(ranking: Ranking) -> Iterator[str]:
    """Frames that differ in number: the dump was padded in another way."""
    first = ranking.places[0]
    equal = next((place for place in ranking.places if not place.other), None)
    if first.other and first.more:
        count = abs(first.more)
        yield (
            f"Your dump has {count} frame{'s' if count > 1 else ''} {'more' if first.more > 0 else 'fewer'} than "
            f"{_named(first)} in every recording: something else is padded, or cut."
        )
    if first.other and equal and not first.alike:
        yield f"As many frames as the dump has {_named(equal)} (mean |Δ| {number(equal.mean)})."


def _sure(ranking: Ranking, recordings: int) -> str:
    if recordings == 1:
        return f"How sure: one recording cannot say: dump {FEW} or more."
    few = f" These are few recordings: dump {FEW} or more." if recordings < FEW else ""
    first = ranking.places[0]
    return (
        f"How sure: among the variants here, `{first.names[0]}` came first in {percent(first.first)} of {RESAMPLES:,} "
        f"resamples of the {recordings} recordings. A method that is not here could be nearer.{few}"
    )


def _next(shards: Shards, ranking: Ranking, guess: tuple[str, float] | None) -> str:
    first = ranking.places[0]
    if guess and not ranking.exact:
        return f"Next: make what it may be and match again:\n  {shards.command([guess[0]])}"
    if ranking.exact or first.within:
        if shards.reference.name in first.names:
            return "Next: the mels are the training's; if quality drops, look behind them (runtime, quantisation)."
        return f"Next: score the model on `{first.names[0]}`: what it loses there is what this device costs."
    if first.alike:
        return "Next: find out where the device pads or cuts; but for these frames, its mels are the variant's."
    there = [variant.stages for variant in shards.variants.values()]
    more = [word for stage in AUDIO_STAGES for word in more_of(stage, there)]
    if not more:
        return "Next: every method is here: check the device's bands, frequencies, window and hop against the set's."
    return f"Next: make what else it may be and match again:\n  {shards.command(more)}"


def _named(place: Place) -> str:
    return " = ".join(f"`{name}`" for name in place.names)


def _counted(recordings: int) -> str:
    return f"{recordings:,} recording{'s' if recordings != 1 else ''}"


def _table(shards: Shards, places: Sequence[Place], recordings: int) -> str:
    rows: list[Sequence[str]] = [("rank", "variant", "differs at", "mean |Δ|", "max |Δ|", "frames", "identical")]
    for rank, place in enumerate(places[:_SHOWN], start=1):
        stages = ", ".join(shards.changed_stages(place.names[0])) or "–"
        figures = number(place.mean), number(place.peak), _length(place, recordings), f"{place.same} of {recordings}"
        rows.append((str(rank), some_of(place.names), stages, *figures))
    shown = table(rows, right=frozenset({0, 3, 4, 5, 6}))
    return shown if len(places) <= _SHOWN else f"{shown}\n… and {len(places) - _SHOWN} farther"


def _length(place: Place, recordings: int) -> str:
    """How many frames the dump has more."""
    if not place.other:
        return "as many"
    return f"{place.more:+d}".replace("-", "−") if place.more is not None else f"other on {place.other} of {recordings}"
