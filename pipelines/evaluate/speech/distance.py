"""How far predicted spectrograms are from the set's, recording by recording.

If one is longer, the frames that both have are compared. Refuses predictions that lack more than a tenth of the frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manifests.residual import mel_residual
from pipelines.errors import UsageError
from pipelines.evaluate.speech.arrays import Mel, Spectrograms
from pipelines.shards import Shards
from pipelines.text import number_of

# The share of the set's frames that a spectrogram may lack, and how many frames it may always lack, due to padding.
_LACKING, _PADDING = 0.1, 4


@dataclass(frozen=True)
class Distances:
    """For each recording, in the order of keys: the mean square difference (float64), and the number of frames by which
    the prediction is longer than the set's (int64).
    """

    errors: NDArray[np.float64]
    frames: NDArray[np.int64]

    @property
    def mse(self) -> float:
        """The mean over recordings, which all count the same."""
        return float(self.errors.mean())

    @property
    def other_length(self) -> int:
        """How many predictions have more or fewer frames than the set's."""
        return int(np.count_nonzero(self.frames))


def mels(shards: Shards, variant: str, keys: Sequence[str]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """A variant's spectrograms of these recordings, in order."""
    for stored in shards.stored(variant, frozenset(keys)):
        yield stored.key, shards.mel(stored)


def distances(
    shards: Shards, truth: str, keys: Sequence[str], predicted: Spectrograms, advance: Callable[[], None]
) -> Distances:
    """Compare predictions with the spectrograms of the variant `truth`. Raises UsageError if one is too short."""
    errors, frames = [], []
    for key, mel in mels(shards, truth, keys):
        error, more = distance(predicted.called(key), predicted.mel(key), mel)
        errors.append(error)
        frames.append(more)
        advance()
    return Distances(np.array(errors, np.float64), np.array(frames, np.int64))


def distance(called: str, predicted: Mel, mel: NDArray[np.float32]) -> tuple[float, int]:
    """The mean square difference, and by how many frames the prediction is longer.

    Raises UsageError if it is too short; `called` names it in the message.
    """
    lacking = mel.shape[1] - predicted.shape[1]
    if lacking > max(_LACKING * mel.shape[1], _PADDING) or not predicted.shape[1]:
        raise UsageError(
            f"{called} has {number_of(predicted.shape[1], 'frame')}, and the set has {mel.shape[1]:,}: predict whole "
            "recordings"
        )
    found = mel_residual(predicted, mel)
    assert found is not None  # both have frames, and the same bands
    return found.mse, found.frames
