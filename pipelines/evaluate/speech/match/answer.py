"""The answer for people: the verdict in words, how sure it is, the ranking, and what to do next."""

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
from pipelines.text import number_of, table

_SHOWN = 10


def answer(shards: Shards, ranking: Ranking, reading: Reading, recordings: int, guess: tuple[str, float] | None) -> str:
    """The whole answer without the notes. `guess` is a composition that is far nearer, and its distance."""
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
        yield f"Your dump is {reading.values}: it is converted to natural logarithms, as in the set."
    if reading.shift:
        when = "later" if reading.shift > 0 else "earlier"
        yield f"Your dump begins {number_of(abs(reading.shift), 'frame')} {when} than the set: it is compared shifted."


def _verdict(shards: Shards, ranking: Ranking, recordings: int) -> Iterator[str]:
    first = ranking.places[0]
    if ranking.exact:
        yield f"Your device matches {_named(first)} exactly: every value of {number_of(recordings, 'recording')}."
    elif first.alike:
        where = "" if first.whole else " over the frames that both have"
        most = (
            f" by more than {number(first.peak)} (another kind of CPU may differ by {TOLERANCE:g})"
            if first.peak
            else ""
        )
        yield f"Your device matches {_named(first)}{where}: no value differs{most}."
    elif ranking.near:
        yield f"Nearest: {_named(first)} (mean |Δ| {number(first.mean)}). No variant matches exactly."
    else:
        yield (
            f"No variant is near: the nearest, {_named(first)} (mean |Δ| {number(first.mean)}), is hardly nearer than "
            "the next."
        )
    if ranking.near:
        yield from _about(shards, ranking)


def _about(shards: Shards, ranking: Ranking) -> Iterator[str]:
    """What cannot be distinguished from the first, how it differs from the reference, and the nearest miss."""
    first = ranking.places[0]
    if len(first.names) > 1:
        yield f"{listed(first.names)} have the same mels of these recordings, and cannot be distinguished."
    if ranking.tied:
        names = [name for place in ranking.tied for name in place.names]
        yield f"{listed([first.names[0], *names])} cannot be distinguished by this dump."
    alike = [place for place in ranking.places[1:] if place.within] if ranking.exact else []
    if alike:
        names = [name for place in alike for name in place.names]
        verb = "differs" if len(names) == 1 else "differ"
        yield f"{listed(names)} {verb} from it by no more than another kind of CPU may."
    names = [*first.names, *(name for place in ranking.tied for name in place.names)]
    if shards.reference.name in names:
        yield f"No stage differs from the reference (`{shards.reference.name}`), as far as this dump shows."
    else:
        stages = " and ".join(shards.changed_stages(first.names[0]))
        how = like([shards.variants[name].stages for name in names], shards.reference.stages)
        yield f"Stage that differs from the reference (`{shards.reference.name}`): {stages}. It {how}."
    if miss := ranking.miss:
        yield f"Nearest miss: {_named(miss)} (mean |Δ| {number(miss.mean)})."


def _composed(shards: Shards, ranking: Ranking, name: str, distance: float) -> Iterator[str]:
    first = ranking.places[0]
    yield (
        f"No variant matches. It may be `{name}`, which is not in the set: the sum of both differences leaves mean "
        f"|Δ| {number(distance)}, and the nearest variant ({_named(first)}) leaves {number(first.mean)}."
    )


def _frames(ranking: Ranking) -> Iterator[str]:
    """A different number of frames: the device pads or cuts differently."""
    first = ranking.places[0]
    equal = next((place for place in ranking.places if not place.other), None)
    if first.other and first.more:
        yield (
            f"Your dump has {number_of(abs(first.more), 'frame')} {'more' if first.more > 0 else 'fewer'} than "
            f"{_named(first)} in every recording: the device pads or cuts differently."
        )
    if first.other and equal and not first.alike:
        yield f"The nearest variant with as many frames as the dump is {_named(equal)} (mean |Δ| {number(equal.mean)})."


def _sure(ranking: Ranking, recordings: int) -> str:
    if recordings == 1:
        return f"How sure: unknown from a single recording: dump {FEW} or more."
    few = f" These are few recordings: dump {FEW} or more." if recordings < FEW else ""
    first = ranking.places[0]
    return (
        f"How sure: among these variants, `{first.names[0]}` came first in {percent(first.first)} of {RESAMPLES:,} "
        f"resamples of the {recordings} recordings. A method that is not in the set could be nearer.{few}"
    )


def _next(shards: Shards, ranking: Ranking, guess: tuple[str, float] | None) -> str:
    first = ranking.places[0]
    if guess and not ranking.exact:
        return f"Next: make that variant and match again:\n  {shards.command([guess[0]])}"
    if ranking.exact or first.within:
        if shards.reference.name in first.names:
            return "Next: the mels are those of training; if quality drops, look after them (runtime, quantisation)."
        return f"Next: score the model on `{first.names[0]}`: its loss there is what this device costs."
    if first.alike:
        return "Next: find out where the device pads or cuts; except for these frames, its mels are the variant's."
    there = [variant.stages for variant in shards.variants.values()]
    more = [word for stage in AUDIO_STAGES for word in more_of(stage, there)]
    if not more:
        return (
            "Next: the set has every method: check the device's bands, frequencies, window and hop against the set's."
        )
    return f"Next: make more variants and match again:\n  {shards.command(more)}"


def _named(place: Place) -> str:
    return " = ".join(f"`{name}`" for name in place.names)


def _table(shards: Shards, places: Sequence[Place], recordings: int) -> str:
    rows: list[Sequence[str]] = [("rank", "variant", "differs at", "mean |Δ|", "max |Δ|", "frames", "identical")]
    for rank, place in enumerate(places[:_SHOWN], start=1):
        stages = ", ".join(shards.changed_stages(place.names[0])) or "–"
        figures = number(place.mean), number(place.peak), _length(place, recordings), f"{place.same} of {recordings}"
        rows.append((str(rank), some_of(place.names), stages, *figures))
    shown = table(rows, right=frozenset({0, 3, 4, 5, 6}))
    return shown if len(places) <= _SHOWN else f"{shown}\n… and {len(places) - _SHOWN} farther"


def _length(place: Place, recordings: int) -> str:
    """By how many frames the dump is longer."""
    if not place.other:
        return "same"
    return (
        f"{place.more:+d}".replace("-", "−") if place.more is not None else f"differ on {place.other} of {recordings}"
    )
