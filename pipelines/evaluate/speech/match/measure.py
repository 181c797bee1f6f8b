"""How far a dump is from every variant, recording by recording. One recording of each variant is in memory at a time.

Variants with the same spectrograms on all compared recordings form a group, which is read once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from tqdm import tqdm

from pipelines.errors import RunError
from pipelines.evaluate.speech.arrays import Spectrograms
from pipelines.evaluate.speech.match.dump import Reading, overlap
from pipelines.shards import Shards

Mels = list[NDArray[np.float32]]


def groups_of(shards: Shards, keys: Sequence[str]) -> list[tuple[str, ...]]:
    """The variants, grouped by equal spectrograms of these recordings; the reference's group is first."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name, variant in shards.variants.items():
        table = variant.table("key", "mel_sha256")
        table = table.filter(pc.is_in(table["key"], pa.array(keys, pa.string())))
        found.setdefault(tuple(table["mel_sha256"].to_pylist()), []).append(name)
    return [tuple(names) for names in found.values()]


def side_by_side(shards: Shards, groups: Sequence[tuple[str, ...]], keys: Sequence[str]) -> Iterator[tuple[str, Mels]]:
    """Each recording's key, and its spectrogram in each group."""
    streams = [shards.stored(names[0], frozenset(keys)) for names in groups]
    for key in keys:
        mels = []
        for names, stream in zip(groups, streams, strict=True):
            stored = next(stream, None)
            if stored is None or stored.key != key:
                raise RunError(f"{shards.variants[names[0]].folder} lacks the spectrogram of {key}: run verify.py")
            mels.append(shards.mel(stored))
        yield key, mels


@dataclass(frozen=True)
class Measured:
    """Differences of the dump from each group, in natural-logarithm units: arrays of shape (recordings, groups).

    `frames` is by how many frames the dump is longer than the group; `same` says that every value is the group's;
    `shifted` says that the dump's first frame is not the set's, so that each lacks frames of the other.
    """

    groups: Sequence[tuple[str, ...]]
    keys: Sequence[str]
    mean: NDArray[np.float64]
    peak: NDArray[np.float64]
    frames: NDArray[np.int64]
    same: NDArray[np.bool_]
    shifted: bool = False


def measure(
    shards: Shards, groups: Sequence[tuple[str, ...]], keys: Sequence[str], dump: Spectrograms, reading: Reading
) -> Measured:
    """Compare a dump's spectrograms of these recordings with every group's."""
    mean, peak = np.empty((len(keys), len(groups))), np.empty((len(keys), len(groups)))
    frames, same = np.empty((len(keys), len(groups)), np.int64), np.empty((len(keys), len(groups)), np.bool_)
    shown = tqdm(side_by_side(shards, groups, keys), "comparing", len(keys), disable=not sys.stderr.isatty())
    for row, (key, mels) in enumerate(shown):
        given = dump.mel(key)
        own = reading.natural(given)
        for column, mel in enumerate(mels):
            both = overlap(own, mel, reading.shift)
            mean[row, column] = both.distance
            peak[row, column] = np.abs(both.dump - both.mel).max(initial=0)
            frames[row, column] = given.shape[1] - mel.shape[1]
            same[row, column] = np.array_equal(given.astype(np.float32), mel)
    return Measured(groups, keys, mean, peak, frames, same, shifted=bool(reading.shift))


def sums(
    shards: Shards,
    measured: Measured,
    pairs: Sequence[tuple[int, int]],
    dump: Spectrograms,
    reading: Reading,
    most: int,
) -> NDArray[np.float64]:
    """The mean distance of a dump from the reference plus the residuals of each pair of groups.

    The first group is the reference's, and the first `most` recordings are used.
    """
    total, keys = np.zeros(len(pairs)), measured.keys[:most]
    for key, mels in side_by_side(shards, measured.groups, keys):
        own = reading.natural(dump.mel(key))
        both = min(mel.shape[1] for mel in mels)
        base, *_ = cut = [mel[:, :both].astype(np.float64) for mel in mels]
        total += [overlap(own, cut[one] + cut[other] - base, reading.shift).distance for one, other in pairs]
    return total / len(keys)
