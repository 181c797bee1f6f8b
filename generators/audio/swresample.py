"""FFmpeg's libswresample, through PyAV: what the `ffmpeg` program does for `-ar`, with which tests compare it.

It computes in floats; given 16-bit integers, the program would output 16-bit integers.
"""

from __future__ import annotations

import av
import numpy as np
from av.audio.resampler import AudioResampler

from generators.audio.settings import Samples

av.logging.set_level(None)


def resample(samples: Samples, rate: int, target: int) -> Samples:
    """`AudioResampler` with libswresample's defaults, flushed to its last sample. Raises ValueError if there is no
    output, as for only a few samples.
    """
    if not len(samples):
        return samples
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None], format="flt", layout="mono")
    frame.sample_rate = rate
    resampler = AudioResampler(format="flt", layout="mono", rate=target)
    parts = [part.to_ndarray()[0] for given in (frame, None) for part in resampler.resample(given)]
    if not parts:
        raise ValueError(f"libswresample makes no sample of {len(samples)}")
    return np.concatenate(parts, dtype=np.float32)


def versions() -> dict[str, str]:
    """PyAV, and the library in it."""
    return {"PyAV": av.__version__, "FFmpeg/libswresample": ".".join(map(str, av.library_versions["libswresample"]))}
