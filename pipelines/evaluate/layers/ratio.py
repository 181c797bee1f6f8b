"""Signal-to-noise ratios in decibels, from sums over batches."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Ratio(NamedTuple):
    """The sums of squares of a reference, and of the differences from it."""

    signal: float = 0.0
    noise: float = 0.0

    def plus(self, other: Ratio) -> Ratio:
        return Ratio(self.signal + other.signal, self.noise + other.noise)

    @property
    def decibels(self) -> float | None:
        """10 log10(signal / noise), infinite if nothing differs; None if there is nothing to compare with.

        PPQ's SNR (ppq/quantization/measure/norm.py, `torch_snr_error`) is noise over signal, as a mean over images.
        """
        if self.noise == 0:
            return math.inf
        if self.signal == 0 or math.isnan(self.noise):
            return None
        return 10 * math.log10(self.signal / self.noise) if math.isfinite(self.noise) else -math.inf


def ratio(reference: NDArray[Any], found: NDArray[Any]) -> Ratio:
    """The sums over two tensors, in double precision; NaN if their shapes differ.

    Values that are infinite or NaN in the reference are skipped; if only `found` has any, the noise is infinite.
    """
    if reference.shape != found.shape:
        return Ratio(math.nan, math.nan)
    own, theirs = reference.astype(np.float64), found.astype(np.float64)
    known = np.isfinite(own)
    if not known.all():
        own, theirs = own[known], theirs[known]
    finite = bool(np.isfinite(theirs).all())
    return Ratio(float(np.square(own).sum()), float(np.square(theirs - own).sum()) if finite else math.inf)
