"""NVIDIA DALI on the CPU: resampling and spectrograms, by pipelines that are built once per process."""

from __future__ import annotations

from typing import Any

import numpy as np
import nvidia.dali
from nvidia.dali import Pipeline, fn, math, types

from generators.audio.settings import FLOOR, LogMel, MelSettings, Samples
from generators.pixels.dali import build, call


def _samples() -> Any:
    return fn.external_source(name="samples", dtype=types.FLOAT, ndim=1)


def _resampler() -> Pipeline:
    def outputs() -> Any:
        rate, target = (fn.external_source(name=name, dtype=types.FLOAT, ndim=0) for name in ("rate", "target"))
        return fn.audio_resample(_samples(), in_rate=rate, out_rate=target)

    return build(outputs)


def _spectrogram(settings: MelSettings) -> Pipeline:
    def outputs() -> Any:
        lengths = {"nfft": settings.n_fft, "window_length": settings.window, "window_step": settings.hop}
        magnitudes = fn.spectrogram(_samples(), power=1, **lengths)
        mel = fn.mel_filter_bank(
            magnitudes,
            sample_rate=settings.rate,
            nfilter=settings.bands,
            freq_low=settings.low,
            freq_high=settings.high,
        )
        return math.log(math.max(mel, FLOOR))

    return build(outputs)


def resample(samples: Samples, rate: int, target: int) -> Samples:
    """`fn.audio_resample` with its defaults: a windowed sinc of quality 50, as wide as the source rate needs, so that
    frequencies above the target's limit are not filtered out and alias.
    """
    if rate == target:  # DALI would filter all the same
        return samples
    rates = {"rate": np.array(rate, np.float32), "target": np.array(target, np.float32)}
    return call(_resampler, samples=np.ascontiguousarray(samples), **rates)


def stft(samples: Samples, settings: MelSettings) -> LogMel:
    """`fn.spectrogram` and `fn.mel_filter_bank` with their defaults, except for the settings' numbers and magnitude
    instead of power; then ln(max(mel, 1e-5)) in DALI's arithmetic.

    The defaults equal the reference's except for the window: a Hann window that begins and ends half a sample off 0. A
    recording shorter than its padding is reflected repeatedly.
    """
    return call(_spectrogram, settings, samples=np.ascontiguousarray(samples))


def versions() -> dict[str, str]:
    """DALI."""
    return {"DALI": nvidia.dali.__version__}
