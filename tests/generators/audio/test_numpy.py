"""The plain spectrograms, compared with transforms and filters by definition, and with properties that follow."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.audio import numpy as module
from generators.audio.settings import FLOOR, RATES, LogMel, MelSettings, Samples
from generators.registry import METHODS
from tests.generators.audio.sounds import noise, sounds, vowel

PLAIN = [token for token, method in METHODS.items() if method.module == "generators.audio.numpy"]
SETTINGS = MelSettings.of(22_050)
# Natural logarithms in float32: their spacing is at most 1e-6, and they are computed in float64.
CLOSE = 2e-6


def made(token: str, samples: Samples, settings: MelSettings = SETTINGS) -> LogMel:
    return METHODS[token].load_audio()(samples, settings)


def mel(hertz: float) -> float:
    return 3 * hertz / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def hertz(value: float) -> float:
    return 200 * value / 3 if value < 15 else 1000 * 6.4 ** ((value - 15) / 27)


def by_definition(samples: Samples, settings: MelSettings, at: int) -> list[float]:
    """One frame of the recipe: sums written out over indices."""
    n, half = settings.n_fft, settings.n_fft // 2
    last = len(samples) - 1
    frame = []
    for index in range(n):
        place = abs(at * settings.hop + index - half)
        reflected = place if place <= last else 2 * last - place
        frame.append(float(samples[reflected]) * (0.5 - 0.5 * math.cos(2 * math.pi * index / n)))
    angles = 2 * np.pi * np.outer(np.arange(half + 1), np.arange(n)) / n
    magnitudes = np.hypot(np.cos(angles) @ frame, np.sin(angles) @ frame)
    low, high = mel(settings.low), mel(settings.high)
    edges = [hertz(low + (high - low) * step / (settings.bands + 1)) for step in range(settings.bands + 2)]
    found = []
    for left, peak, right in zip(edges, edges[1:], edges[2:], strict=False):
        bins = np.arange(half + 1) * settings.rate / n
        triangle = np.interp(bins, [left, peak, right], [0.0, 1.0, 0.0])
        found.append(math.log(max(float(triangle @ magnitudes) * 2 / (right - left), FLOOR)))
    return found


@pytest.mark.parametrize("rate", RATES)
def test_the_reference_equals_the_recipe_by_definition(rate: int) -> None:
    settings = MelSettings.of(rate)
    samples = vowel(2500, rate)
    found = made("numpy_stft", samples, settings)
    assert found.dtype == np.float32
    assert found.shape == (80, 1 + 2500 // 256)
    for at in (0, 1, 5, found.shape[1] - 1):
        assert np.allclose(found[:, at], by_definition(samples, settings, at), rtol=0, atol=CLOSE)


def test_a_shorter_window_is_centred() -> None:
    settings = MelSettings(22_050, window=512)
    padded = module.window(settings)
    assert padded[256] == 0
    assert padded[512] == 1
    assert np.count_nonzero(padded) == 511
    assert np.count_nonzero(module.window(SETTINGS, periodic=False)) == 1022


def test_a_window_is_symmetric_or_one_period() -> None:
    symmetric, periodic = module.window(SETTINGS, periodic=False), module.window(SETTINGS)
    assert np.allclose(symmetric, symmetric[::-1], rtol=0, atol=1e-15)
    assert np.allclose(periodic[1:], periodic[:0:-1], rtol=0, atol=1e-15)
    assert np.allclose(periodic + np.roll(periodic, 512), 1)


# The number of frames for a number of samples, and the fewest samples that give any.
FRAMES: dict[str, tuple[Callable[[int], int], int]] = {
    token: (lambda count: 1 + count // 256, 513) for token in PLAIN
} | {
    "numpy_zero_padding": (lambda count: 1 + count // 256, 1),
    "numpy_nemo": (lambda count: 1 + count // 256, 1),
    "numpy_uncentred": (lambda count: 1 + (count - 1024) // 256, 1024),
    "numpy_hifigan": (lambda count: count // 256, 385),
}


@pytest.mark.parametrize("token", PLAIN)
@given(count=st.one_of(st.integers(0, 1300), st.sampled_from([0, 1, 10, 384, 511, 512, 513, 1023, 1024, 5000])))
def test_the_number_of_frames_follows_the_formula_or_there_is_a_reason(token: str, count: int) -> None:
    frames, fewest = FRAMES[token]
    samples = noise(count)
    if count < fewest:
        with pytest.raises(ValueError, match=r"^(there are no samples|\d+ samples are .*)$"):
            made(token, samples)
    else:
        assert made(token, samples).shape == (80, frames(count))


@pytest.mark.parametrize(
    ("token", "floor"),
    [
        *((token, FLOOR) for token in PLAIN if token not in ("numpy_nemo", "numpy_espnet", "numpy_hifigan")),
        ("numpy_nemo", 2.0**-24),
    ],
)
def test_silence_is_the_floor(token: str, floor: float) -> None:
    assert np.all(made(token, np.zeros(2000, np.float32)) == np.float32(math.log(floor)))


def test_silence_shows_the_guard_of_squares() -> None:
    silence = np.zeros(2000, np.float32)
    weights = module.mel_filters(SETTINGS).sum(axis=1)
    for token, square in (("numpy_hifigan", 1e-9), ("numpy_espnet", 1e-10)):
        least = FLOOR if token == "numpy_hifigan" else 1e-10
        expected = np.log(np.maximum(weights * math.sqrt(square), least))
        assert np.allclose(made(token, silence), expected[:, None], rtol=0, atol=CLOSE)


@given(st.floats(0.01, 1.0), st.integers(0, 2**32 - 1))
def test_gain_is_a_constant(gain: float, seed: int) -> None:
    samples = noise(1500, seed)
    quiet = np.float32(gain) * samples
    for token, power in (("numpy_stft", 1), ("numpy_power", 2)):
        whole = made(token, samples)
        audible = np.full_like(whole, np.float32(power * math.log(np.float32(gain)))) + whole
        heard = audible > math.log(FLOOR) + 1e-3
        assert np.allclose(made(token, quiet)[heard], audible[heard], rtol=0, atol=1e-4)


def test_variations_differ_only_where_they_should() -> None:
    samples = noise(6000)
    reference, uncentred = made("numpy_stft", samples), made("numpy_uncentred", samples)
    inside = slice(2, -2)  # frames that do not reach into padding
    zeros = made("numpy_zero_padding", samples)
    assert np.array_equal(zeros[:, inside], reference[:, inside])
    assert not np.array_equal(zeros, reference)
    assert np.array_equal(uncentred, reference[:, inside])
    assert np.allclose(
        made("numpy_espnet", samples), reference, rtol=0, atol=CLOSE
    )  # nothing is as quiet as the floors
    moved = made("numpy_uncentred", samples[128:])  # HiFi-GAN's frames begin half a hop later
    assert np.allclose(made("numpy_hifigan", samples)[:, inside], moved[:, :19], rtol=0, atol=1e-4)


def test_nemo_equals_three_variations_and_a_guard() -> None:
    samples = noise(6000)
    power = module.stft(samples, SETTINGS, periodic=False, padding="constant", power=2).astype(np.float64)
    assert power.min() > math.log(FLOOR)
    assert np.allclose(made("numpy_nemo", samples), np.log(np.exp(power) + 2.0**-24), rtol=0, atol=CLOSE)


def test_blocks_of_long_recordings_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = noise(5000)
    whole = made("numpy_stft", samples)
    monkeypatch.setattr(module, "_BLOCK", 3)
    assert np.array_equal(made("numpy_stft", samples), whole)


def test_inputs_are_unchanged_and_may_be_strided() -> None:
    for samples in sounds(22_050).values():
        before = samples.copy()
        samples.flags.writeable = False
        found = made("numpy_stft", samples)
        assert np.array_equal(samples, before)
        assert np.array_equal(made("numpy_stft", np.repeat(samples, 2)[::2]), found)


def test_a_rate_without_a_recipe_is_refused() -> None:
    with pytest.raises(ValueError, match="no recipe for 44,100 Hz: those for 22,050 and 16,000 Hz are published"):
        MelSettings.of(44_100)
