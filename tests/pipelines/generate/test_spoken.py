"""The built-in speech: the same bytes everywhere, and sounds that match their names."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from generators.audio.recording import read
from pipelines.generate.sources.find import find
from pipelines.generate.sources.spoken import PHRASES, RATE, Phrase, recording
from pipelines.options import Inputs


def test_the_bytes_are_the_same_on_every_machine() -> None:
    found = find("speech", Inputs(None, None, None), None)
    assert found.facts["content_sha256"] == "0824b594a8636d1e6571fccee51d2a002866431d7443b8a992560dda0a002358"
    assert [dict(sample.extra)["text"] for sample in found.samples] == [phrase.text for phrase in PHRASES]
    assert [len(data) for data in found.source.read(found.samples) if isinstance(data, bytes)] == [
        sample.size for sample in found.samples
    ]


@pytest.mark.parametrize("phrase", PHRASES)
def test_a_phrase_is_a_short_recording(phrase: Phrase) -> None:
    found = read(recording(phrase))
    assert (found.rate, found.channels, found.codec) == (RATE, 1, "pcm_s16le")
    assert 0.5 < len(found.samples) / RATE < 2
    assert 0.5 < abs(found.samples).max() < 1


def test_an_s_hisses_and_vowels_have_their_formants() -> None:
    """By Welch's method: an s has its power above 4 kHz, and the second resonance in "see" is near 2,290 Hz."""
    samples = read(recording(PHRASES[0])).samples
    hiss, vowel = samples[2200:4840], samples[4840:9240]
    frequencies, power = signal.welch(hiss, RATE, nperseg=512)
    assert power[frequencies > 4000].sum() > 0.8 * power.sum()
    frequencies, power = signal.welch(vowel, RATE, nperseg=256)
    above = frequencies > 1200
    assert abs(frequencies[above][np.argmax(power[above])] - 2290) < 150
    assert power[~above].sum() > power[above].sum()
