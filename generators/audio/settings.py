"""What sound and its spectrograms are here: samples, log-mels and the numbers of the recipe that they follow.

Refuses a rate that no published recipe with these numbers has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# (n,), one channel, full scale at -1 and 1.
Samples = NDArray[np.float32]
# (bands, frames), natural logarithm.
LogMel = NDArray[np.float32]

# 22,050 Hz: NVIDIA/tacotron2 hparams.py and ming024/FastSpeech2 config/LJSpeech/preprocess.yaml; 16,000 Hz:
# speechbrain/speechbrain recipes/LibriTTS/vocoder/hifigan/hparams/train.yaml. All have the same other numbers.
RATES = (22_050, 16_000)
# The least that a logarithm is taken of: NVIDIA/tacotron2 and ming024/FastSpeech2, dynamic_range_compression of their
# audio_processing.py; jik876/hifi-gan meldataset.py has the same.
FLOOR = 1e-5


@dataclass(frozen=True)
class MelSettings:
    """The numbers of a log-mel spectrogram: rates and frequencies in Hz, lengths in samples.

    `n_fft` is the length of the transform, `window` that of the window in the middle of it; `bands` mel filters lie
    between `low` and `high`.
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
        """The published recipe for a rate. Raises ValueError where there is none."""
        if rate not in RATES:
            known = " and ".join(f"{known:,}" for known in RATES)
            raise ValueError(f"there is no recipe for {rate:,} Hz: those for {known} Hz are published")
        return cls(rate)
