"""What code without a resampler does: linear interpolation, or nothing at all."""

from __future__ import annotations

import numpy as np

from generators.audio.settings import Samples


def resample(samples: Samples, rate: int, target: int) -> Samples:
    """Linear interpolation at the new sample times. There is no filter, so frequencies above the target's limit alias.
    Past the last sample, its value is repeated.
    """
    if not len(samples):
        return samples
    times = np.arange(-(-len(samples) * target // rate)) * (rate / target)
    read: Samples = np.interp(times, np.arange(len(samples)), samples).astype(np.float32)
    return read


def unchanged(samples: Samples, rate: int, target: int) -> Samples:
    """The samples unchanged, as if they had the target rate: tempo and pitch shift."""
    return samples
