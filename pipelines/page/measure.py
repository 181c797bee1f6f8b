"""How two results of one sample are compared: by the figure that the manifests record for every sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from manifests.mels import SPOKEN
from manifests.residual import mel_residual


@dataclass(frozen=True)
class Measure:
    """A difference between two results: its column in the manifests, its wording, and how it is calculated.

    `between` gives None for results that cannot be compared. `where` has the absolute differences at each place: of
    shape (height, width) or (height, width, channels).
    """

    column: str
    heading: str
    legend: str
    between: Callable[[Any, Any], float | None]
    where: Callable[[Any, Any], NDArray[Any]]


def _mean_abs(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> float | None:
    return float(cv2.norm(image, other, cv2.NORM_L1)) / image.size if image.shape == other.shape else None


def _mse(mel: NDArray[np.float32], other: NDArray[np.float32]) -> float | None:
    found = mel_residual(mel, other)
    return found and found.mse


def _of_mels(mel: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    both = min(mel.shape[1], other.shape[1])
    # Low bands at the bottom, as spectrograms are drawn.
    found: NDArray[np.float32] = np.abs(mel[::-1, :both] - other[::-1, :both])
    return found


def measure_for(dataset: str) -> Measure:
    """The measure of a dataset's samples."""
    return _MELS if dataset in SPOKEN else _PIXELS


_PIXELS = Measure(
    column="residual_mean_abs",
    heading="mean |Δ|",
    legend="the mean absolute difference between the pixels of two variants, in steps of 0 to 255",
    between=_mean_abs,
    where=cv2.absdiff,
)
_MELS = Measure(
    column="residual_mse",
    heading="MSE",
    legend="the mean squared difference between two variants' natural logarithms, over the frames that both have",
    between=_mse,
    where=_of_mels,
)
