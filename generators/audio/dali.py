"""NVIDIA DALI on the CPU: resampling and spectrograms, in pipelines that are built once in a process."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import nvidia.dali
from nvidia.dali import Pipeline, fn, math, types

from generators.audio.settings import FLOOR, LogMel, MelSettings, Samples
from generators.pixels.dali import build, reason, run


def _samples() -> Any:
    return fn.external_source(name="samples", dtype=types.FLOAT, ndim=1)


@functools.cache
def _resampler() -> Pipeline:
    def outputs() -> Any:
        rate, target = (fn.external_source(name=name, dtype=types.FLOAT, ndim=0) for name in ("rate", "target"))
        return fn.audio_resample(_samples(), in_rate=rate, out_rate=target)

    return build(outputs)


@functools.cache
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
    """`fn.audio_resample` by its defaults: a windowed sinc of quality 50, as wide as the samples' own rate has it:
    what a lower target cannot hold is not filtered, and folds back.
    """
    if rate == target:  # which DALI filters all the same
        return samples
    rates = {"rate": [np.array(rate, np.float32)], "target": [np.array(target, np.float32)]}
    try:
        (found,) = run(_resampler(), samples=[np.ascontiguousarray(samples)], **rates)
        return found
    except RuntimeError as error:
        _resampler.cache_clear()  # a pipeline that has failed cannot be run again
        raise ValueError(reason(str(error))) from None


def stft(samples: Samples, settings: MelSettings) -> LogMel:
    """`fn.spectrogram` and `fn.mel_filter_bank` by their defaults but for the settings' numbers and magnitude for
    power, and ln(max(mel, 1e-5)) by DALI's arithmetic.

    Its defaults are the reference's, but for the window, a Hann window that begins and ends half a sample off 0. A
    recording that is shorter than its padding is reflected again and again.
    """
    try:
        (found,) = run(_spectrogram(settings), samples=[np.ascontiguousarray(samples)])
        return found
    except RuntimeError as error:
        _spectrogram.cache_clear()
        raise ValueError(reason(str(error))) from None


def versions() -> dict[str, str]:
    """DALI."""
    return {"DALI": nvidia.dali.__version__}
