"""What is done where there is no resampler: linear interpolation, and nothing at all."""

from __future__ import annotations

import numpy as np

from generators.audio.settings import Samples


def resample(samples: Samples, rate: int, target: int) -> Samples:
    """Straight lines between samples, read at the new ones' times: no filter, so that what the target cannot hold folds
    back. The last sample holds on.
    """
    if not len(samples):
        return samples
    times = np.arange(-(-len(samples) * target // rate)) * (rate / target)
    read: Samples = np.interp(times, np.arange(len(samples)), samples).astype(np.float32)
    return read


def unchanged(samples: Samples, rate: int, target: int) -> Samples:
    """The samples as they are, taken for ones of the target rate: all is faster or slower, and higher or lower."""
    return samples
