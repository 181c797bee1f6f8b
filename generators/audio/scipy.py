"""SciPy: two ways of resampling, and spectrograms by its STFT. It calculates in float32, as it is given it."""

from __future__ import annotations

import numpy as np
import scipy
from scipy import signal

from generators.audio.numpy import sparse_filters
from generators.audio.settings import FLOOR, LogMel, MelSettings, Samples


def resample_poly(samples: Samples, rate: int, target: int) -> Samples:
    """`scipy.signal.resample_poly` by its defaults: a polyphase filter, Kaiser-windowed (5.0), with zeros around."""
    return np.asarray(signal.resample_poly(samples, target, rate), np.float32)


def resample(samples: Samples, rate: int, target: int) -> Samples:
    """`scipy.signal.resample`, by Fourier transform, as if the recording went round; to as many samples as librosa has
    it make (`res_type="fft"`), the first whole number that is not less than n * target / rate.
    """
    if rate == target or not len(samples):
        return samples
    return np.asarray(signal.resample(samples, -(-len(samples) * target // rate)), np.float32)


def stft(samples: Samples, settings: MelSettings) -> LogMel:
    """`scipy.signal.stft` by its defaults, times the window's sum, which it divides by; magnitude, mel filters as the
    reference has them, in float32, and ln(max(mel, 1e-5)).

    Its defaults are a periodic Hann window and zeros around, of which it adds some behind to have whole hops. It has a
    shorter window for a recording that is shorter than one, which is refused here: the filters are not for that.
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
