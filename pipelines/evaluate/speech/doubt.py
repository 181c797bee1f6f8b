"""Recognises predictions that are not natural logarithms, or not of this set.

A doubt is one line for the user, or empty.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluate.speech.arrays import Mel

# The factors that turn other logarithms into natural ones. Decibels of powers, which are squares, are 10 log10.
SCALES: Mapping[str, float] = MappingProxyType(
    {
        "log10": math.log(10),
        "dB (20 log10)": math.log(10) / 20,
        "dB (10 log10)": math.log(10) / 10,
    }
)
# Another scale is suggested if it leaves less than this share of the error.
_EXPLAINS = 0.25


def doubt(pairs: Iterable[tuple[Mel, NDArray[np.float32]]]) -> str:
    """Why the predictions look wrong, from some of the reference's, each with the set's spectrogram."""
    errors, variances = [], []
    for predicted, mel in pairs:
        both = min(predicted.shape[1], mel.shape[1])
        own, theirs = predicted[:, :both], mel[:, :both].astype(np.float64)
        errors.append([np.mean((own * scale - theirs) ** 2) for scale in (1.0, *SCALES.values())])
        variances.append(np.mean((theirs - theirs.mean(axis=1, keepdims=True)) ** 2))
    error, *others = np.mean(errors, axis=0)
    name, least = min(zip(SCALES, others, strict=True), key=lambda pair: pair[1])
    if least < _EXPLAINS * error:
        return (
            f"The reference's MSE is {error:.3g}, and would be {least:.3g} if its predictions were {name}: give them "
            f"as natural logarithms, multiplied by {SCALES[name]:.4g}."
        )
    if error > float(np.mean(variances)):
        return (
            f"The reference's MSE is {error:.3g}, more than that of predicting each band's mean "
            f"({np.mean(variances):.3g}): its predictions are of other recordings, or normalised; the set has natural "
            "logarithms of magnitudes."
        )
    return ""
