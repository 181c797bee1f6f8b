"""The residual: a variant's pixels or mel spectrogram minus the reference's, as three figures for each sample."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Residual(NamedTuple):
    """Absolute differences over all values (pixels × channels): mean and max in 0..255, and the share that differ."""

    mean_abs: float
    max_abs: int
    changed: float


def residual(image: NDArray[np.uint8], reference: NDArray[np.uint8]) -> Residual | None:
    """Compare two RGB uint8 images; None if their shapes differ (as when a decoder has rotated the image)."""
    if image.shape != reference.shape:
        return None
    difference = np.maximum(image, reference) - np.minimum(image, reference)
    total = int(difference.sum(dtype=np.uint64))
    return Residual(
        mean_abs=total / difference.size,
        max_abs=int(difference.max()),
        changed=int(np.count_nonzero(difference)) / difference.size,
    )


class MelResidual(NamedTuple):
    """Over the frames that both have: mean squared and largest absolute difference, in natural-logarithm units.

    `frames` is the number of frames minus the reference's.
    """

    mse: float
    max_abs: float
    frames: int


def mel_residual(mel: NDArray[np.floating[Any]], reference: NDArray[np.floating[Any]]) -> MelResidual | None:
    """Compare two spectrograms (bands, frames); None if they share no frame or differ in their number of bands."""
    both = min(mel.shape[1], reference.shape[1])
    if not both or len(mel) != len(reference):
        return None
    difference = mel[:, :both].astype(np.float64) - reference[:, :both]
    return MelResidual(
        mse=float(np.mean(difference**2)),
        max_abs=float(np.abs(difference).max()),
        frames=mel.shape[1] - reference.shape[1],
    )
