"""The built-in set of speech: six short phrases, made by a formant synthesizer of a few lines.

A pulse for each period of the voice passes through resonances at a vowel's formants, and noise through another, as in
Klatt, "Software for a cascade/parallel formant synthesizer", JASA 67 (1980). All arithmetic is on integers, so the
bytes are the same on every machine. It is meant to exercise a pipeline, and sounds like it.
"""

from __future__ import annotations

import functools
import hashlib
import io
import math
import wave
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipelines.generate.sources.base import UNKNOWN_LABEL, Listing, Missing, Sample

RATE = 22_050
# Samples during which a sound does not change: 5 ms.
_FRAME = RATE // 200
# Hz: the first three formants of men, from Peterson and Barney, JASA 24 (1952), table II.
_FORMANTS = {
    "i": (270, 2290, 3010),
    "A": (730, 1090, 2440),
    "O": (570, 840, 2410),
    "V": (640, 1190, 2390),
    "u": (300, 870, 2240),
}
# Hz: the formants' bandwidths; the centre of an s and its bandwidth.
_BANDWIDTHS, _HISS = (60, 90, 150), (4900, 1000)
# Hz: the voice at the beginning and the end of a phrase.
_VOICE = (125, 95)
_UNIT = 24  # bits after the point
# Amplitudes of each period's pulse and of the noise, by which a vowel is some 10 dB louder than an s.
_PULSE, _NOISE = 2**35, 2**5
_PEAK = 20_000


class Phrase(NamedTuple):
    """Words, and their sounds: `s`, a vowel, two that glide from one to the other, or a pause `_`."""

    text: str
    sounds: str


PHRASES: tuple[Phrase, ...] = (
    Phrase("See.", "_ s i _"),
    Phrase("Us.", "_ V s _"),
    Phrase("I saw Sue.", "_ Ai s O s u _"),
    Phrase("Icy sea!", "_ Ai s i _ s i _"),
    Phrase("Sigh, see us.", "_ s Ai _ s i V s _"),
    Phrase("I see saucy sauce.", "_ Ai s i s O s i _ s O s _"),
)


class _Sound(NamedTuple):
    """5 ms: formants in Hz, and the loudness of voice and noise, from 0 to 4."""

    formants: tuple[int, ...]
    voice: int
    noise: int


def _sounds(phrase: Phrase) -> Iterator[_Sound]:
    formants: tuple[int, ...] = _FORMANTS["V"]
    for name in phrase.sounds.split():
        count = {"_": 20, "s": 24}.get(name, 24 + 16 * len(name))
        first, last = (_FORMANTS.get(end, formants) for end in (name[0], name[-1]))
        for at in range(count):
            loud = min(4, at + 1, count - at)
            formants = tuple(a + (b - a) * at // (count - 1) for a, b in zip(first, last, strict=True))
            yield _Sound(formants, loud * (name not in "_s"), loud * (name == "s"))


class _Resonance:
    """Klatt's digital resonator (his equations 1 and 2), in integers."""

    def __init__(self) -> None:
        self._before = self._earlier = 0

    def tune(self, frequency: int, bandwidth: int) -> None:
        radius = math.exp(-math.pi * bandwidth / RATE)
        self._b = round(2 * radius * math.cos(2 * math.pi * frequency / RATE) * 2**_UNIT)
        self._c = -round(radius * radius * 2**_UNIT)
        self._a = 2**_UNIT - self._b - self._c

    def __call__(self, value: int) -> int:
        value = (self._a * value + self._b * self._before + self._c * self._earlier) >> _UNIT
        self._before, self._earlier = value, self._before
        return value


def _samples(phrase: Phrase) -> list[int]:
    sounds = list(_sounds(phrase))
    throat, hiss, mouth = _Resonance(), _Resonance(), [_Resonance() for _ in _BANDWIDTHS]
    throat.tune(0, 100)
    hiss.tune(*_HISS)
    found = []
    phase, random, before = 0, 1, 0
    for at, sound in enumerate(sounds):
        for resonance, frequency, bandwidth in zip(mouth, sound.formants, _BANDWIDTHS, strict=True):
            resonance.tune(frequency, bandwidth)
        pitch = _VOICE[0] + (_VOICE[1] - _VOICE[0]) * at // len(sounds)
        for _ in range(_FRAME):
            phase += pitch
            pulse = phase >= RATE
            phase -= RATE * pulse
            voiced = throat(_PULSE * sound.voice * pulse)
            for resonance in mouth:
                voiced = resonance(voiced)
            random = (random * 1_103_515_245 + 12_345) % 2**31  # ISO C's example of rand()
            noise = hiss(((random >> 15) - 2**15) * _NOISE * sound.noise)
            found.append(voiced - before + noise)  # lips radiate a difference
            before = voiced
    return found


@functools.cache
def recording(phrase: Phrase) -> bytes:
    """A phrase as 16-bit mono WAV."""
    samples = _samples(phrase)
    peak = max(map(abs, samples))
    pcm = array("h", (value * _PEAK // peak for value in samples))
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(pcm.itemsize)
        file.setframerate(RATE)
        file.writeframes(pcm.tobytes())
    return buffer.getvalue()


@dataclass(frozen=True)
class SpokenSource:
    """Six phrases of half a second to two seconds; needs no download."""

    kind: str = "speech-sample"

    def listing(self) -> Listing:
        samples = [
            Sample(key, UNKNOWN_LABEL, f"{key}.wav", len(recording(phrase)), (index,), (("text", phrase.text),))
            for index, phrase in enumerate(PHRASES)
            for key in (f"phrase_{index + 1}",)
        ]
        total = hashlib.sha256(b"".join(map(recording, PHRASES)))
        return Listing(samples, [], {"content_sha256": total.hexdigest()})

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        for sample in samples:
            yield recording(PHRASES[sample.place[0]])
