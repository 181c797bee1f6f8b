"""`score.py match` on speech, from a dump and the set to the printed answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipelines.errors import UsageError
from pipelines.evaluate.match.dump import spread
from pipelines.evaluate.match.words import skipped
from pipelines.evaluate.options import MatchOptions
from pipelines.evaluate.speech.arrays import Arrays, Spectrograms, open_arrays
from pipelines.evaluate.speech.match.answer import answer
from pipelines.evaluate.speech.match.dump import Reading, place_of_dump, reading_of
from pipelines.evaluate.speech.match.measure import Measured, groups_of, measure, side_by_side, sums
from pipelines.evaluate.speech.match.rank import Ranking, rank
from pipelines.shards import Shards
from pipelines.text import number_of

# More recordings would take longer and not change the answer.
_MOST = 200
# How many recordings decide how to read a dump, and which composition to guess.
_FIRST, _GUESSED = 6, 24
# A composition is named if it leaves less than this share of the nearest variant's distance.
_FAR_NEARER = 0.5


def match_mels(options: MatchOptions, shards: Shards, dump: Path) -> int:
    """Print which variant the device matches; returns exit status 0. Raises UsageError for a bad dump."""
    given: dict[str, object] = {
        "mean": options.mean,
        "std": options.std,
        "scale": options.scale,
        "layout": options.layout,
    }
    given["channels"] = options.channels if options.channels != "rgb" else None
    if flag := next((name for name, value in given.items() if value is not None), None):
        raise UsageError(f"--{flag} applies only to images: leave it out, since the format of mels is recognised")
    with open_arrays(place_of_dump(dump)) as arrays:
        keys = _keys(shards, arrays)
        compared = spread(keys, _MOST)
        groups = groups_of(shards, compared)
        mels = Spectrograms(arrays, compared, shards.config["mel"]["bands"])
        some = side_by_side(shards, groups, compared[:_FIRST])
        reading = reading_of([(mels.mel(key), theirs) for key, theirs in some])
        measured = measure(shards, groups, compared, mels, reading)
        ranking = rank(measured, options.seed)
        guess = None if ranking.places[0].within else _guess(shards, measured, ranking, mels, reading)
        print(answer(shards, ranking, reading, len(compared), guess))
        notes = [*_notes(shards, arrays, keys, compared, turned=mels.turned), *shards.notes]
    if notes:
        print("", *(f"Note: {note}." for note in notes), sep="\n")
    return 0


def _keys(shards: Shards, arrays: Arrays) -> list[str]:
    """The recordings that the dump and every variant have. Raises UsageError if there are none."""
    known = set(arrays.keys)
    found = [key for key in shards.shared_keys() if key in known]
    if not found:
        theirs = shards.reference.keys()
        what = "only recordings that failed in some variant" if known & set(theirs) else "no recording of the set"
        example = f", but the set's keys are like {min(theirs)}" if theirs else ""
        raise UsageError(f"{arrays.place} has {what}: it has {arrays.keys[0]}{example}")
    return found


def _guess(
    shards: Shards, measured: Measured, ranking: Ranking, dump: Spectrograms, reading: Reading
) -> tuple[str, float] | None:
    """A composition of two methods, one for each stage, that is far nearer than all variants, and its distance."""
    stages = [shards.changed_stages(names[0]) for names in measured.groups]
    resample, stft = ([place for place, own in enumerate(stages) if own == (stage,)] for stage in ("resample", "stft"))
    existing = {frozenset(name.split("+")) for name in shards.variants}
    names = [names[0] for names in measured.groups]
    pairs = [(r, s) for r in resample for s in stft if {names[r], names[s]} not in existing]
    if not pairs:
        return None
    found = sums(shards, measured, pairs, dump, reading, _GUESSED)
    best = int(found.argmin())
    if found[best] >= _FAR_NEARER * ranking.places[0].mean:
        return None
    one, other = pairs[best]
    return f"{names[one]}+{names[other]}", float(found[best])


def _notes(
    shards: Shards, arrays: Arrays, keys: Sequence[str], compared: Sequence[str], *, turned: bool
) -> Iterator[str]:
    if turned:
        yield "the dump was read as frames × bands"
    known = set(shards.reference.table("key")["key"].to_pylist())
    if others := [key for key in arrays.keys if key not in known]:
        yield skipped(others, "array")
    if failed := len(known & set(arrays.keys)) - len(keys):
        yield f"left out {number_of(failed, 'recording')} that failed in a variant of the set"
    if len(compared) < len(keys):
        yield f"{len(compared):,} of {len(keys):,} recordings were compared, evenly spread"
