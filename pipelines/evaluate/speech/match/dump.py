"""A device's dump: mel spectrograms by key, converted to natural logarithms.

Owns recognising other logarithms, magnitudes, and a dump that begins some frames earlier or later: another reading is
chosen if it brings the dump far nearer to some variant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from generators.audio.settings import FLOOR
from pipelines.errors import UsageError
from pipelines.evaluate.speech.arrays import ARRAY, ZIP, Mel
from pipelines.evaluate.speech.doubt import SCALES

Way = TypeVar("Way", str, int)

NATURAL, LINEAR = "natural logarithms", "magnitudes or powers, not logarithms"
# Another reading, or a shift, is chosen if it leaves less than this share of the distance.
_FAR_NEARER = 0.5
# By how many frames a dump may begin later.
_SHIFTS = range(-3, 4)


def _scaled(scale: float) -> Callable[[Mel], Mel]:
    return lambda values: values * scale


def _logarithm(values: Mel) -> Mel:
    found: Mel = np.log(np.maximum(values, FLOOR))
    return found


READINGS: Mapping[str, Callable[[Mel], Mel]] = MappingProxyType(
    {NATURAL: _scaled(1.0), **{name: _scaled(scale) for name, scale in SCALES.items()}, LINEAR: _logarithm}
)


@dataclass(frozen=True)
class Reading:
    """How to read a dump: what its values are, and which of the set's frames is its first."""

    values: str = NATURAL
    shift: int = 0

    def natural(self, dump: Mel) -> Mel:
        """A dumped spectrogram in natural logarithms."""
        return READINGS[self.values](dump)


class Overlap(NamedTuple):
    """The frames that a dump and a spectrogram both have."""

    dump: Mel
    mel: Mel

    @property
    def distance(self) -> float:
        """The mean absolute difference; infinite if they have no frame in common."""
        return float(np.abs(self.dump - self.mel).mean()) if self.dump.size else np.inf


def overlap(dump: Mel, mel: NDArray[np.floating[Any]], shift: int) -> Overlap:
    """The frames in common, if the dump's first is the spectrogram's frame `shift`."""
    dump, mel = dump[:, max(0, -shift) :], mel[:, max(0, shift) :]
    both = min(dump.shape[1], mel.shape[1])
    return Overlap(dump[:, :both], mel[:, :both].astype(np.float64))


def reading_of(pairs: Sequence[tuple[Mel, Sequence[NDArray[np.float32]]]]) -> Reading:
    """How to read a dump, from its spectrogram and each variant's for some recordings."""
    negative = any((dump < 0).any() for dump, _ in pairs)
    ways = [way for way in READINGS if way != LINEAR or not negative]
    nearest = {way: _nearest(pairs, Reading(way)) for way in ways}
    values = _clearly(NATURAL, nearest)
    shifted = {shift: _nearest(pairs, Reading(values, shift)) for shift in _SHIFTS}
    return Reading(values, _clearly(0, shifted))


def _nearest(pairs: Iterable[tuple[Mel, Sequence[NDArray[np.float32]]]], reading: Reading) -> float:
    """The mean distance to the nearest variant."""
    rows = [[overlap(reading.natural(dump), mel, reading.shift).distance for mel in mels] for dump, mels in pairs]
    return float(np.mean(rows, axis=0).min())


def _clearly(default: Way, found: Mapping[Way, float]) -> Way:
    """The nearest one, if it is far nearer than the default."""
    best = min(found, key=found.__getitem__)
    return best if found[best] < _FAR_NEARER * found[default] else default


def place_of_dump(dump: Path) -> Path:
    """The folder of arrays, or the `.npz`, also if that is in the folder. Raises UsageError if missing or ambiguous."""
    if not dump.exists():
        raise UsageError(f"--dump {dump} does not exist: give a folder of .npy files named by key, or an .npz")
    archives = sorted(dump.glob(f"*{ZIP}")) if dump.is_dir() else []
    if archives and (array := next(iter(sorted(dump.glob(f"*{ARRAY}"))), None)):
        raise UsageError(f"--dump {dump} has {archives[0].name} and {array.name}: keep the {ZIP} or the {ARRAY} files")
    if len(archives) > 1:
        raise UsageError(f"--dump {dump} has {archives[0].name} and {archives[1].name}: give one of them")
    return archives[0] if archives else dump
