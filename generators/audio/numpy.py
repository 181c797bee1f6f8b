"""Log-mel spectrograms in plain NumPy, as papers define them: the reference, variations of it in one respect, and the
recipes of three projects for the same numbers.

Computed in float64 and rounded to float32 at the end. NumPy's transforms and SciPy's sparse product are single-threaded
with a fixed order of summation; only `np.log` differs between CPUs, in the last bits of a float64.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.sparse import csr_array

from generators.audio.settings import FLOOR, LogMel, MelSettings, Samples
from generators.pixels.foreign.programs.mel import filters

Floats = NDArray[np.float64]
Padding = Literal["reflect", "constant"]

# Frames transformed at once, so that memory does not grow with the recording: 8 MiB of windows.
_BLOCK = 1024

# jik876/hifi-gan meldataset.py, mel_spectrogram: added to squares before the square root.
_HIFIGAN_GUARD = 1e-9
# NVIDIA/NeMo nemo/collections/asr/parts/preprocessing/features.py, FilterbankFeatures: log_zero_guard_value, added.
_NEMO_GUARD = 2.0**-24
# espnet/espnet espnet2/layers/log_mel.py, LogMel, and espnet2/tts/feats_extract/log_mel_fbank.py: the lower bound of
# mels, and of squares.
_ESPNET_FLOOR = 1e-10


def stft(
    samples: Samples,
    settings: MelSettings,
    *,
    periodic: bool = True,
    padding: Padding | None = "reflect",
    htk: bool = False,
    power: Literal[1, 2] = 1,
) -> LogMel:
    """The recipe of Tacotron 2 and FastSpeech 2 (sources in `settings`): frames centred every `hop` samples, the first
    on the first sample, hence `n_fft // 2` samples of padding on either side; Hann window; magnitude; Slaney's mel
    filters with Slaney's norm; ln(max(mel, 1e-5)).

    The window is `periodic` or symmetric; `padding` is by reflection, with zeros, or None, in which case the first
    frame begins at the first sample; `htk` uses HTK's mel scale, still with Slaney's norm; `power` is the exponent of
    the magnitude. Raises ValueError for too few samples to reflect (as PyTorch's padding does), or for a window.
    """
    return _log_mel(
        _padded(samples, settings.n_fft // 2, padding),
        settings,
        periodic=periodic,
        htk=htk,
        spectrum=np.sqrt if power == 1 else np.positive,
        log=_clamped(FLOOR),
    )


def hifigan(samples: Samples, settings: MelSettings) -> LogMel:
    """As jik876/hifi-gan's `mel_spectrogram`: (n_fft - hop) / 2 samples of reflection on either side, which gives
    n // hop frames, and sqrt(square + 1e-9). The loudness normalisation of its training is left out.
    """
    return _log_mel(
        _padded(samples, (settings.n_fft - settings.hop) // 2, "reflect"),
        settings,
        spectrum=lambda squares: np.sqrt(squares + _HIFIGAN_GUARD),
        log=_clamped(FLOOR),
    )


def nemo(samples: Samples, settings: MelSettings) -> LogMel:
    """As NVIDIA NeMo's `FilterbankFeatures` with its defaults: zero padding, symmetric window, power, ln(mel + 2^-24).

    Its steps before and after are left out: dither and preemphasis (0.97), normalisation of each band, and masking of
    frames from n // hop on.
    """
    return _log_mel(
        _padded(samples, settings.n_fft // 2, "constant"),
        settings,
        periodic=False,
        spectrum=np.positive,
        log=lambda mel: np.log(mel + _NEMO_GUARD),
    )


def espnet(samples: Samples, settings: MelSettings) -> LogMel:
    """As ESPnet 2's `LogMelFbank`, but with a natural logarithm where it has a decimal one: sqrt(max(square, 1e-10))
    and ln(max(mel, 1e-10)).
    """
    return _log_mel(
        _padded(samples, settings.n_fft // 2, "reflect"),
        settings,
        spectrum=lambda squares: np.sqrt(np.maximum(squares, _ESPNET_FLOOR)),
        log=_clamped(_ESPNET_FLOOR),
    )


def window(settings: MelSettings, periodic: bool = True) -> Floats:
    """A Hann window centred in the transform's length: one period of it, or (not `periodic`) with a 0 at either end."""
    length = settings.window
    hann = np.hanning(length + 1)[:-1] if periodic else np.hanning(length)
    before = (settings.n_fft - length) // 2
    return np.pad(hann, (before, settings.n_fft - length - before))


def mel_filters(settings: MelSettings, *, htk: bool = False, dtype: str = "float64") -> NDArray[Any]:
    """The mel filters of a recipe, of shape (bands, n_fft // 2 + 1)."""
    numbers = (settings.rate, settings.n_fft, settings.bands, settings.low, settings.high)
    found: NDArray[Any] = filters(*numbers, htk=htk, dtype=dtype)
    return found


@functools.cache
def sparse_filters(settings: MelSettings, *, htk: bool = False, dtype: str = "float64") -> csr_array:
    """The mel filters without their zeros, 98% of the values: the order of summation is fixed whatever the BLAS."""
    return csr_array(mel_filters(settings, htk=htk, dtype=dtype))


def _padded(samples: Samples, size: int, padding: Padding | None) -> Floats:
    count = len(samples)
    if not count:
        raise ValueError("there are no samples")
    if padding is None:
        return samples.astype(np.float64)
    if padding == "reflect" and count <= size:
        raise ValueError(f"{count} samples are too few to reflect {size} of them: {size + 1} are needed")
    return np.pad(samples.astype(np.float64), size, padding)


def _clamped(floor: float) -> Callable[[Floats], Floats]:
    return lambda mel: np.log(np.maximum(mel, floor))


def _log_mel(
    padded: Floats,
    settings: MelSettings,
    *,
    spectrum: Callable[[Floats], Floats],
    log: Callable[[Floats], Floats],
    periodic: bool = True,
    htk: bool = False,
) -> LogMel:
    """`spectrum` maps squared magnitudes to what the filters sum; `log` maps the sums to the result."""
    if len(padded) < settings.n_fft:
        raise ValueError(f"{len(padded)} samples are less than one window of {settings.n_fft}")
    frames = sliding_window_view(padded, settings.n_fft)[:: settings.hop]
    hann, mel = window(settings, periodic), sparse_filters(settings, htk=htk)
    made = np.empty((settings.bands, len(frames)), np.float32)
    for start in range(0, len(frames), _BLOCK):
        transformed = np.fft.rfft(frames[start : start + _BLOCK] * hann)
        squares = transformed.real**2 + transformed.imag**2
        made[:, start : start + _BLOCK] = log(mel @ spectrum(squares).T)
    return made
