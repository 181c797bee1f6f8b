"""libsoxr, through its Python package: five qualities of resampling."""

from __future__ import annotations

import numpy as np
import soxr

from generators.audio.settings import Samples


def resample(samples: Samples, rate: int, target: int, *, quality: str) -> Samples:
    """`soxr.resample` with one of its qualities; `HQ` is its default and librosa's."""
    return np.asarray(soxr.resample(samples, rate, target, quality=quality), np.float32)


def versions() -> dict[str, str]:
    """The package, and the libsoxr in it."""
    return {"soxr": soxr.__version__, "soxr/libsoxr": soxr.__libsoxr_version__}
