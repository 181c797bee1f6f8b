"""Data types of sound: samples, log-mel spectrograms, and the numbers of the recipe for them.

Refuses a rate for which no recipe with these numbers is published.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Shape (n,), one channel, full scale ±1.
Samples = NDArray[np.float32]
# Shape (bands, frames), natural logarithm.
LogMel = NDArray[np.float32]

# 22,050 Hz: NVIDIA/tacotron2 hparams.py and ming024/FastSpeech2 config/LJSpeech/preprocess.yaml; 16,000 Hz:
# speechbrain/speechbrain recipes/LibriTTS/vocoder/hifigan/hparams/train.yaml. Their other numbers are all the same.
RATES = (22_050, 16_000)
# The lower bound before the logarithm: NVIDIA/tacotron2 and ming024/FastSpeech2, dynamic_range_compression in their
# audio_processing.py; the same in jik876/hifi-gan meldataset.py.
FLOOR = 1e-5


@dataclass(frozen=True)
class MelSettings:
    """The numbers of a log-mel spectrogram: rates and frequencies in Hz, lengths in samples.

    `n_fft` is the length of the transform, `window` that of the window centred in it; `bands` is the number of mel
    filters between `low` and `high`.
    """

    rate: int
    n_fft: int = 1024
    hop: int = 256
    window: int = 1024
    bands: int = 80
    low: float = 0.0
    high: float = 8000.0

    @classmethod
    def of(cls, rate: int) -> MelSettings:
        """The published recipe for a rate. Raises ValueError if there is none."""
        if rate not in RATES:
            known = " and ".join(f"{known:,}" for known in RATES)
            raise ValueError(f"there is no recipe for {rate:,} Hz: those for {known} Hz are published")
        return cls(rate)
