"""librosa, any release from 0.8: `librosa.feature.melspectrogram`, and the logarithm that speech models apply to it."""

from __future__ import annotations

import os
import warnings
from typing import Any, Dict, Tuple

# One process runs per core, so threads would compete for them; a BLAS with several may also sum in another order.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import librosa
import numpy as np

Given = Tuple[int, memoryview]
Made = Tuple[int, int, Any]


def stft(samples: Given, settings: Dict[str, Any]) -> Made:
    """`melspectrogram` with the settings' numbers, reflection and magnitude; ln(max(mel, 1e-5))."""
    return _made(samples, settings, pad_mode="reflect", power=1.0)


def stft_default(samples: Given, settings: Dict[str, Any]) -> Made:
    """`melspectrogram` with the settings' numbers and its own defaults: power, and zero padding since 0.10, reflection
    before; ln(max(mel, 1e-5)).
    """
    return _made(samples, settings)


def versions() -> Dict[str, str]:
    """librosa; NumPy and SciPy, which compute, are listed with what was installed."""
    return {"librosa": librosa.__version__}


def _made(samples: Given, settings: Dict[str, Any], **options: Any) -> Made:
    count, data = samples
    if not count:
        raise ValueError("there are no samples")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # recordings shorter than a window cause one
        mel = librosa.feature.melspectrogram(
            y=np.frombuffer(data, np.float32),
            sr=settings["rate"],
            n_fft=settings["n_fft"],
            hop_length=settings["hop"],
            win_length=settings["window"],
            n_mels=settings["bands"],
            fmin=settings["low"],
            fmax=settings["high"],
            **options,
        )
    made = np.ascontiguousarray(np.log(np.maximum(mel, np.float32(1e-5))), np.float32)
    return made.shape[0], made.shape[1], made
