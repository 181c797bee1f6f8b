"""What a device made of some recordings: mel spectrograms by key, as natural logarithms whatever they were.

Owns telling natural logarithms from others and from none, and a dump that begins some frames later or earlier: by what
brings it nearer to any variant, by far.
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
from pipelines.evaluate.speech.arrays import ZIP, Mel
from pipelines.evaluate.speech.doubt import SCALES

Way = TypeVar("Way", str, int)

NATURAL, LINEAR = "natural logarithms", "magnitudes or powers, no logarithms"
# Another reading, or a shift, is taken where it leaves less than this part of the distance.
_FAR_NEARER = 0.5
# Frames that a dump may begin later or earlier.
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
    """How a dump is to be read: what its values are, and which of the set's frames its first one is."""

    values: str = NATURAL
    shift: int = 0

    def natural(self, dump: Mel) -> Mel:
        """A dump's spectrogram in natural logarithms."""
        return READINGS[self.values](dump)


class Overlap(NamedTuple):
    """The frames that a dump and a spectrogram both have."""

    dump: Mel
    mel: Mel

    @property
    def distance(self) -> float:
        """The mean absolute difference; infinite where they have no frame in common."""
        return float(np.abs(self.dump - self.mel).mean()) if self.dump.size else np.inf


def overlap(dump: Mel, mel: NDArray[np.floating[Any]], shift: int) -> Overlap:
    """The frames in common, where the dump's first is the spectrogram's frame `shift`."""
    dump, mel = dump[:, max(0, -shift) :], mel[:, max(0, shift) :]
    both = min(dump.shape[1], mel.shape[1])
    return Overlap(dump[:, :both], mel[:, :both].astype(np.float64))


def told(pairs: Sequence[tuple[Mel, Sequence[NDArray[np.float32]]]]) -> Reading:
    """How a dump is to be read, by some recordings: its spectrogram, and that of each variant."""
    negative = any((dump < 0).any() for dump, _ in pairs)
    ways = [way for way in READINGS if way != LINEAR or not negative]
    nearest = {way: _nearest(pairs, Reading(way)) for way in ways}
    values = _clearly(NATURAL, nearest)
    shifted = {shift: _nearest(pairs, Reading(values, shift)) for shift in _SHIFTS}
    return Reading(values, _clearly(0, shifted))


def _nearest(pairs: Iterable[tuple[Mel, Sequence[NDArray[np.float32]]]], reading: Reading) -> float:
    """The mean distance of the nearest variant."""
    rows = [[overlap(reading.natural(dump), mel, reading.shift).distance for mel in mels] for dump, mels in pairs]
    return float(np.mean(rows, axis=0).min())


def _clearly(default: Way, found: Mapping[Way, float]) -> Way:
    """The one that is nearest, where it is far nearer than the default."""
    best = min(found, key=found.__getitem__)
    return best if found[best] < _FAR_NEARER * found[default] else default


def place_of_dump(dump: Path) -> Path:
    """The folder of arrays, or the `.npz`, that is meant. Raises UsageError where there is none."""
    if not dump.exists():
        raise UsageError(f"--dump {dump} is not there: give a folder of .npy files named by key, or an .npz")
    inner = sorted(dump.glob(f"*{ZIP}")) if dump.is_dir() else []
    return inner[0] if len(inner) == 1 and not any(dump.glob("*.npy")) else dump
