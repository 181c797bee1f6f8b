"""librosa's mel filters, by their formulas: for NumPy, and for programs in other environments.

Written for Python 3.7, since `serve.py` loads it together with a library; needs only NumPy.
"""

from __future__ import annotations

import functools
from typing import Any, Tuple

import numpy as np

# Slaney's scale (Auditory Toolbox, version 2, technical report 1998-010, `mfcc`), in librosa's units: linear up to
# 1,000 Hz, 200/3 Hz to a mel, and logarithmic from there on, 27 mels to a factor of 6.4.
_LINEAR, _CORNER, _STEP = 200.0 / 3, 1000.0, np.log(6.4) / 27
# HTK's scale: 2595 log10(1 + f / 700) (The HTK Book, section 5.4).
_HTK, _HTK_CORNER = 2595.0, 700.0


@functools.lru_cache(maxsize=16)
def filters(
    rate: int, n_fft: int, bands: int, low: float, high: float, htk: bool = False, dtype: str = "float64"
) -> Any:
    """Triangles evenly spaced on a mel scale, each with an area of 1 over Hz (Slaney's norm), of shape
    (bands, n_fft // 2 + 1). They equal `librosa.filters.mel(norm="slaney")`, float32 by default there, bit for bit.
    """
    edges = _edges(bands, low, high, htk)
    bins = np.linspace(0, rate / 2, n_fft // 2 + 1)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0, np.minimum(rising, falling)).astype(dtype)
    found = (triangles * (2 / (edges[2:] - edges[:-2]))[:, None]).astype(dtype)
    found.flags.writeable = False
    return found


def _edges(bands: int, low: float, high: float, htk: bool) -> Any:
    """The `bands + 2` frequencies, in Hz, at which the triangles begin, peak and end."""
    to_mel, to_hertz = _HTK_SCALE if htk else _SLANEY_SCALE
    return to_hertz(np.linspace(to_mel(low), to_mel(high), bands + 2))


def _slaney_mel(hertz: float) -> float:
    if hertz < _CORNER:
        return hertz / _LINEAR
    return float(_CORNER / _LINEAR + np.log(hertz / _CORNER) / _STEP)


def _slaney_hertz(mel: Any) -> Any:
    corner = _CORNER / _LINEAR
    return np.where(mel < corner, mel * _LINEAR, _CORNER * np.exp(_STEP * (mel - corner)))


def _htk_mel(hertz: float) -> float:
    return float(_HTK * np.log10(1 + hertz / _HTK_CORNER))


def _htk_hertz(mel: Any) -> Any:
    return _HTK_CORNER * (10 ** (mel / _HTK) - 1)


_SLANEY_SCALE: Tuple[Any, Any] = (_slaney_mel, _slaney_hertz)
_HTK_SCALE: Tuple[Any, Any] = (_htk_mel, _htk_hertz)
