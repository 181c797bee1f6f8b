"""SciPy: two resamplers, and spectrograms by its STFT. It computes in float32, the dtype of the samples."""

from __future__ import annotations

import numpy as np
import scipy
from scipy import signal

from generators.audio.numpy import sparse_filters
from generators.audio.settings import FLOOR, LogMel, MelSettings, Samples


def resample_poly(samples: Samples, rate: int, target: int) -> Samples:
    """`scipy.signal.resample_poly` with its defaults: a polyphase filter, Kaiser-windowed (5.0), padded with zeros."""
    return np.asarray(signal.resample_poly(samples, target, rate), np.float32)


def resample(samples: Samples, rate: int, target: int) -> Samples:
    """`scipy.signal.resample`: by Fourier transform, as if the recording were periodic. The number of samples is that
    of librosa's `res_type="fft"`: n * target / rate, rounded up.
    """
    if rate == target or not len(samples):
        return samples
    return np.asarray(signal.resample(samples, -(-len(samples) * target // rate)), np.float32)


def stft(samples: Samples, settings: MelSettings) -> LogMel:
    """`scipy.signal.stft` with its defaults, times the window's sum, by which it divides; magnitude, the reference's
    mel filters in float32, and ln(max(mel, 1e-5)).

    Its defaults are a periodic Hann window and zero padding, with more zeros at the end for whole hops. It shortens
    the window for a recording that is shorter; such recordings are refused, since the filters would not fit.
    """
    if len(samples) < settings.window:
        raise ValueError(f"{len(samples)} samples are less than one window of {settings.window}")
    overlap = settings.window - settings.hop
    _, _, transformed = signal.stft(
        samples, settings.rate, nperseg=settings.window, noverlap=overlap, nfft=settings.n_fft
    )
    total = np.float32(signal.get_window("hann", settings.window).sum())
    mel = sparse_filters(settings, dtype="float32") @ (np.abs(transformed) * total)
    made: LogMel = np.log(np.maximum(mel, np.float32(FLOOR)))
    return made


def versions() -> dict[str, str]:
    """SciPy."""
    return {"SciPy": scipy.__version__}
