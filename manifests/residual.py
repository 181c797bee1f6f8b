"""The residual: a variant's pixels minus the reference's, summed up in three figures for each sample."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Residual(NamedTuple):
    """Absolute differences over all values (pixels × channels): mean and max in 0..255, and the share that differ."""

    mean_abs: float
    max_abs: int
    changed: float


def residual(image: NDArray[np.uint8], reference: NDArray[np.uint8]) -> Residual | None:
    """Compare two RGB uint8 images; None where their shapes differ (as when a decoder has turned the image)."""
    if image.shape != reference.shape:
        return None
    difference = np.maximum(image, reference) - np.minimum(image, reference)
    total = int(difference.sum(dtype=np.uint64))
    return Residual(
        mean_abs=total / difference.size,
        max_abs=int(difference.max()),
        changed=int(np.count_nonzero(difference)) / difference.size,
    )
