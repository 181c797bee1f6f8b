"""The resamplers: tones, lengths and aliasing; FFmpeg's, compared with its program."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generators.audio.settings import Samples
from generators.registry import METHODS
from tests.generators.audio.sounds import noise, sounds

RESAMPLERS = [token for token, method in METHODS.items() if method.stage == "resample"]
FILTERING = [token for token in RESAMPLERS if token != "no_resampling"]
# The largest error of a 1,000 Hz tone with an amplitude of 0.5, away from a tenth of a second at either end.
ERRORS = {
    "soxr_hq": 1e-5,
    "soxr_vhq": 1e-5,
    "soxr_mq": 1e-4,
    "soxr_lq": 1e-3,
    "soxr_qq": 1e-2,
    "scipy_polyphase": 2e-3,
    "scipy_fourier": 1e-3,
    "swresample": 1e-3,
    "dali_resample": 1e-3,
    "linear": 1e-1,
}
# What is left of a 10,000 Hz tone at a rate of 16,000, root mean square, of 0.35.
LEFT = dict.fromkeys(FILTERING, 1e-3) | {"soxr_qq": 0.3, "linear": 0.4, "dali_resample": 0.4}


def tone(hertz: float, count: int, rate: int) -> Samples:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(count) / rate)).astype(np.float32)


def made(token: str, samples: Samples, rate: int, target: int) -> Samples:
    return METHODS[token].load_audio()(samples, rate, target)


@pytest.mark.parametrize("token", FILTERING)
@pytest.mark.parametrize(("rate", "target"), [(22_050, 16_000), (44_100, 22_050), (8_000, 22_050), (48_000, 16_000)])
def test_a_tone_is_preserved(token: str, rate: int, target: int) -> None:
    found = made(token, tone(1000, rate // 2, rate), rate, target)
    assert found.dtype == np.float32
    assert abs(len(found) - target / 2) < 2
    inside = slice(target // 10, -target // 10)
    assert np.abs(found - tone(1000, len(found), target))[inside].max() < ERRORS[token]


@pytest.mark.parametrize("token", FILTERING)
def test_frequencies_above_the_target_s_limit_are_filtered_or_alias(token: str) -> None:
    found = made(token, tone(10_000, 11_025, 22_050), 22_050, 16_000)[1600:-1600]
    left = float(np.sqrt(np.mean(found.astype(np.float64) ** 2)))
    assert (left < 1e-3) == (LEFT[token] == 1e-3)
    assert left < LEFT[token]


def test_without_resampling_a_tone_changes_pitch() -> None:
    found = made("no_resampling", tone(1000, 4000, 22_050), 22_050, 16_000)
    assert np.allclose(found, tone(1000 * 16_000 / 22_050, 4000, 16_000), atol=1e-5)


@pytest.mark.parametrize("token", RESAMPLERS)
def test_at_the_same_rate_samples_are_unchanged(token: str) -> None:
    for count in (1, 511, 4000):
        samples = noise(count)
        assert np.array_equal(made(token, samples, 22_050, 22_050), samples)


@pytest.mark.parametrize("token", RESAMPLERS)
@settings(max_examples=20)
@given(
    count=st.one_of(st.integers(0, 40), st.integers(500, 520)),
    rate=st.sampled_from([8_000, 11_025, 44_100, 48_000, 768_000]),
    target=st.sampled_from([16_000, 22_050]),
)
def test_few_samples_give_few_or_a_reason(token: str, count: int, rate: int, target: int) -> None:
    samples = noise(count)
    samples.flags.writeable = False
    expected = count if token == "no_resampling" else count * target / rate
    try:
        found = made(token, samples, rate, target)
    except ValueError as error:
        found, reason = np.empty(0, np.float32), str(error)
        assert (token, reason) == ("swresample", f"libswresample makes no sample of {count}")
    assert found.dtype == np.float32
    assert found.ndim == 1
    assert len(found) <= expected + 2
    assert token == "swresample" or len(found) >= expected - 1
    assert np.all(np.isfinite(found))


@pytest.mark.parametrize(("rate", "target"), [(22_050, 16_000), (8_000, 22_050)])
def test_swresample_equals_the_ffmpeg_program(ffmpeg: str, rate: int, target: int) -> None:
    for samples in (np.concatenate([*sounds(rate).values()]), noise(22)):  # with few samples, it loses the last ones
        words = [ffmpeg, "-v", "error", "-f", "f32le", "-ar", str(rate), "-ac", "1", "-i", "-"]
        words += ["-ar", str(target), "-f", "f32le", "-"]
        done = subprocess.run(words, input=samples.tobytes(), capture_output=True, check=True)
        program = np.frombuffer(done.stdout, np.float32)
        if len(program):
            assert np.allclose(made("swresample", samples, rate, target), program, rtol=0, atol=1e-6)
        else:
            with pytest.raises(ValueError, match="makes no sample"):
                made("swresample", samples, rate, target)


def test_the_fourier_method_is_periodic() -> None:
    """By definition: the lower part of the spectrum, with as many samples as librosa asks for."""
    samples = noise(441)
    found = made("scipy_fourier", samples, 22_050, 16_000)
    spectrum = np.fft.rfft(samples.astype(np.float64))[:161]
    spectrum[160] = 2 * spectrum[160].real  # the highest frequency coincides with its mirror
    assert np.allclose(found, np.fft.irfft(spectrum, 320) * 320 / 441, rtol=0, atol=1e-6)


def test_linear_interpolation_of_a_line_is_the_line() -> None:
    line = np.linspace(-1, 1, 500, dtype=np.float32)
    found = made("linear", line, 22_050, 16_000)
    times = np.arange(len(found)) / 16_000
    assert np.allclose(found, np.minimum(-1 + 2 * times * 22_050 / 499, 1), rtol=0, atol=1e-6)
