"""`score.py match` on speech: from a dump and the set to the answer on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipelines.errors import UsageError
from pipelines.evaluate.match.dump import spread
from pipelines.evaluate.options import MatchOptions
from pipelines.evaluate.speech.arrays import Arrays, Spectrograms, open_arrays
from pipelines.evaluate.speech.match.answer import answer
from pipelines.evaluate.speech.match.dump import Reading, place_of_dump, told
from pipelines.evaluate.speech.match.measure import Measured, groups_of, measure, side_by_side, sums
from pipelines.evaluate.speech.match.rank import Ranking, rank
from pipelines.shards import Shards

_NAMED = 3
# More recordings would take longer and tell no more.
_MOST = 200
# Recordings by which it is told how a dump is to be read, and by which compositions are guessed.
_FIRST, _GUESSED = 6, 24
# A composition is named where it leaves less than this part of the nearest variant's distance.
_FAR_NEARER = 0.5


def match_mels(options: MatchOptions, shards: Shards, dump: Path) -> int:
    """Print which variant the device has; the exit status, 0. Raises UsageError for what cannot be compared."""
    given: dict[str, object] = {
        "mean": options.mean,
        "std": options.std,
        "scale": options.scale,
        "layout": options.layout,
    }
    given["channels"] = options.channels if options.channels != "rgb" else None
    if flag := next((name for name, value in given.items() if value is not None), None):
        raise UsageError(f"--{flag} is of images: mels are told by the set's, leave it out")
    with open_arrays(place_of_dump(dump)) as arrays:
        keys = _keys(shards, arrays)
        compared = spread(keys, _MOST)
        groups = groups_of(shards, compared)
        mels = Spectrograms(arrays, compared, shards.config["mel"]["bands"])
        some = side_by_side(shards, groups, compared[:_FIRST])
        reading = told([(mels.mel(key), theirs) for key, theirs in some])
        measured = measure(shards, groups, compared, mels, reading)
        ranking = rank(measured, options.seed)
        guess = None if ranking.places[0].within else _guess(shards, measured, ranking, mels, reading)
        print(answer(shards, ranking, reading, len(compared), guess))
        notes = [*_notes(shards, arrays, keys, compared, turned=mels.turned), *shards.notes]
    if notes:
        print("", *(f"Note: {note}." for note in notes), sep="\n")
    return 0


def _keys(shards: Shards, arrays: Arrays) -> list[str]:
    """The recordings that the dump and every variant have. Raises UsageError where there are none."""
    known = set(arrays.keys)
    found = [key for key in shards.shared_keys() if key in known]
    if not found:
        theirs = shards.reference.keys()
        what = "only recordings that failed in some variant" if known & set(theirs) else "no recording of the set"
        like = min(theirs, default="none at all")
        raise UsageError(f"{arrays.place} has {what}: it has {arrays.keys[0]}, where keys are as {like}")
    return found


def _guess(
    shards: Shards, measured: Measured, ranking: Ranking, dump: Spectrograms, reading: Reading
) -> tuple[str, float] | None:
    """The composition of a method of each stage that is nearer than all variants by far, where there is one."""
    stages = [shards.changed_stages(names[0]) for names in measured.groups]
    resample, stft = ([place for place, own in enumerate(stages) if own == (stage,)] for stage in ("resample", "stft"))
    there = {frozenset(name.split("+")) for name in shards.variants}
    names = [names[0] for names in measured.groups]
    pairs = [(r, s) for r in resample for s in stft if {names[r], names[s]} not in there]
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
        yield "the dump has frames × bands, and was read so"
    known = set(shards.reference.table("key")["key"].to_pylist())
    if others := [key for key in arrays.keys if key not in known]:
        more = ", …" if len(others) > _NAMED else ""
        yield f"{len(others):,} arrays of the dump are of no recording of the set ({', '.join(others[:_NAMED])}{more})"
    if failed := len(known & set(arrays.keys)) - len(keys):
        yield f"{failed:,} left out: the recording failed in a variant of the set"
    if len(compared) < len(keys):
        yield f"{len(compared):,} of {len(keys):,} recordings were compared, evenly spread"
