"""The libraries' spectrograms: each equals a direct call in its environment, and is close to its documentation."""

from __future__ import annotations

import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest

from generators.audio import numpy as plain
from generators.audio.settings import RATES, LogMel, MelSettings, Samples
from generators.registry import LIBRARIES, METHODS, Release
from tests.generators.audio.sounds import noise, sounds
from tests.generators.foreign.direct import release

SETTINGS = MelSettings.of(22_050)
LIBRARY = [token for token, method in METHODS.items() if method.stage == "stft" and not token.startswith("numpy_")]
# Computed in float32, natural logarithms differ by less than this unless mels are near the floor.
CLOSE = 1e-4

Sounds = dict[str, Samples]

# Scripts that read samples from sounds.npz, and write the library's results to made.npz.
_READ = """
import os
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
import numpy as np
sounds, made = dict(np.load("sounds.npz")), {}
def rate_of(key):
    return int(key.partition(" ")[0])
"""
_LIBROSA = """
import librosa
for key, y in sounds.items():
    numbers = {"n_fft": 1024, "hop_length": 256, "n_mels": 80, "fmax": 8000}
    mel = librosa.feature.melspectrogram(y=y, sr=rate_of(key), power=1, pad_mode="reflect", **numbers)
    made["librosa_stft " + key] = np.log(np.clip(mel, 1e-5, None))
    mel = librosa.feature.melspectrogram(y=y, sr=rate_of(key), **numbers)
    made["librosa_default " + key] = np.log(np.clip(mel, 1e-5, None))
    for name in ("hq", "vhq", "mq", "lq", "qq"):
        other = 38050 - rate_of(key)
        made["soxr_" + name + " " + key] = librosa.resample(
            y, orig_sr=rate_of(key), target_sr=other, res_type="soxr_" + name, fix=False
        )
for rate in (16000, 22050):
    for htk in (False, True):
        made["filters %d %d" % (rate, htk)] = librosa.filters.mel(sr=rate, n_fft=1024, n_mels=80, fmax=8000, htk=htk)
np.savez("made.npz", **made)
"""
_TORCH = """
import torch
for key, y in sounds.items():
    if key.startswith("filters"):
        continue
    filters = torch.from_numpy(sounds["filters %d" % rate_of(key)])
    window = torch.hann_window(1024)
    spectrum = torch.stft(torch.from_numpy(y), 1024, hop_length=256, window=window, return_complex=True)
    made["torch_stft " + key] = torch.log(torch.clamp(filters @ spectrum.abs(), min=1e-5)).numpy()
np.savez("made.npz", **made)
"""


def made(token: str, samples: Samples, settings: MelSettings = SETTINGS) -> LogMel:
    return METHODS[token].load_audio()(samples, settings)


def both_rates() -> Sounds:
    return {f"{rate} {name}": samples for rate in RATES for name, samples in sounds(rate).items()}


def direct(library: str, script: str, given: Sounds, folder: Path) -> dict[str, LogMel]:
    """A script's results for sounds in a library's environment, in one thread."""
    found = LIBRARIES[library]
    assert isinstance(found, Release)
    python = release(library, found.version)
    np.savez(folder / "sounds.npz", **given)  # type: ignore[arg-type] # its stub takes names for its own option
    done = subprocess.run(
        [python, "-I", "-W", "ignore", "-c", _READ + script], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with np.load(folder / "made.npz") as arrays:
        return dict(arrays)


def test_librosa_s_and_soxr_s_methods_and_the_filters_equal_direct_calls(tmp_path: Path) -> None:
    given = both_rates()
    for name, expected in direct("librosa", _LIBROSA, given, tmp_path).items():
        token, _, key = name.partition(" ")
        rate = int(key.split()[0])
        if token == "filters":
            filters = plain.mel_filters(MelSettings.of(rate), htk=key.endswith("1"), dtype="float32")
            assert np.array_equal(filters, expected), key
        elif token.startswith("soxr"):
            assert np.array_equal(METHODS[token].load_audio()(given[key], rate, 38_050 - rate), expected), name
        else:
            assert np.array_equal(made(token, given[key], MelSettings.of(rate)), expected), name
        if token == "librosa_stft":
            assert np.abs(made("numpy_stft", given[key], MelSettings.of(rate)) - expected).max() < CLOSE


def test_torch_s_method_equals_a_direct_call_with_librosa_s_filters(tmp_path: Path) -> None:
    given = both_rates()
    filters = {f"filters {rate}": plain.mel_filters(MelSettings.of(rate), dtype="float32") for rate in RATES}
    for name, expected in direct("torchvision's PyTorch", _TORCH, {**given, **filters}, tmp_path).items():
        key = name.partition(" ")[2]
        settings = MelSettings.of(int(key.split()[0]))
        found = made("torch_stft", given[key], settings)
        assert np.array_equal(found, expected), name
        assert np.abs(np.exp(found) - np.exp(made("numpy_stft", given[key], settings))).max() < 1e-6


def test_tensorflow_s_method_follows_its_documentation() -> None:
    release("TensorFlow for sound", "2.21.0")
    for key, samples in both_rates().items():
        settings = MelSettings.of(int(key.split()[0]))
        frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), 1024)[::256]
        magnitudes = np.abs(np.fft.rfft(frames * np.hanning(1025)[:-1]))
        scale = 1127 * np.log1p(np.arange(1, 513) * settings.rate / 1024 / 700)
        edges = np.linspace(0, 1127 * np.log1p(settings.high / 700), 82)
        triangles = [np.interp(scale, edges[at : at + 3], [0, 1, 0]) for at in range(80)]
        expected = magnitudes[:, 1:] @ np.transpose(triangles) + 1e-6
        assert np.allclose(np.exp(made("tf_stft", samples, settings)), expected.T, rtol=CLOSE, atol=2e-5), key


def test_dali_s_window_is_half_a_sample_off(monkeypatch: pytest.MonkeyPatch) -> None:
    window = np.sin(np.pi * (np.arange(1024) + 0.5) / 1024) ** 2
    for key, samples in both_rates().items():
        settings = MelSettings.of(int(key.split()[0]))
        with monkeypatch.context() as patched:
            patched.setattr(plain, "window", lambda settings, periodic: window)
            expected = np.exp(made("numpy_stft", samples, settings))
        found = made("dali_stft", samples, settings)
        assert found.dtype == np.float32
        assert np.allclose(np.exp(found), expected, rtol=CLOSE, atol=1e-7), key


def test_scipy_s_method_pads_zeros_and_has_one_more_frame() -> None:
    for key, samples in both_rates().items():
        settings = MelSettings.of(int(key.split()[0]))
        found = made("scipy_stft", samples, settings)
        expected = np.exp(made("numpy_zero_padding", samples, settings))
        assert found.dtype == np.float32
        assert found.shape[1] == expected.shape[1] + 1
        assert np.allclose(np.exp(found[:, :-1]), expected, rtol=CLOSE, atol=1e-7), key


# The message for too few samples, and how few that is.
FEWEST: dict[str, tuple[int, str]] = {
    "librosa_stft": (1, "there are no samples"),
    "librosa_default": (1, "there are no samples"),
    "torch_stft": (513, r"\d+ samples are too few to reflect 512 of them: 513 are needed"),
    "tf_stft": (1024, r"\d+ samples are less than one window of 1024"),
    "scipy_stft": (1024, r"\d+ samples are less than one window of 1024"),
    "dali_stft": (1, r"Spectogram does not support empty .*"),
}


@pytest.mark.parametrize("token", LIBRARY)
def test_few_samples_give_frames_or_a_reason(token: str) -> None:
    library = METHODS[token].library
    if isinstance(library, Release):
        release(library.name, library.version)
    fewest, reason = FEWEST[token]
    for count in (0, 1, 10, 511, 512, 513, 1023, 1024):
        if count < fewest:
            with pytest.raises(ValueError, match=f"^{reason}$"):
                made(token, noise(count))
        else:
            found = made(token, noise(count))
            assert found.dtype == np.float32
            assert (len(found), bool(found.shape[1])) == (80, True)
            assert np.all(np.isfinite(found))


def _recordings(data: Path) -> list[Samples]:
    found = []
    for path in sorted((data / "speech" / "LJSpeech-1.1" / "wavs").iterdir()):
        with wave.open(str(path)) as file:
            integers = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        found.append((integers / np.float32(32768)).astype(np.float32))
    return found


def test_the_reference_equals_librosa_on_all_shared_recordings(data: Path) -> None:
    release("librosa", "0.11.0")
    recordings = _recordings(data)
    assert len(recordings) == 12
    assert max(np.abs(made("numpy_stft", one) - made("librosa_stft", one)).max() for one in recordings) < CLOSE
