"""Synthetic recordings: deterministic, at most full scale, float32."""

from __future__ import annotations

import numpy as np

from generators.audio.settings import Samples

# Of a vowel as in "father": frequencies and widths of its formants, in Hz.
_FORMANTS = ((730.0, 60.0), (1090.0, 90.0), (2440.0, 120.0))
_PITCH = 120.0


def chirp(count: int, rate: int, low: float = 50.0, high: float = 7000.0) -> Samples:
    """A tone whose frequency rises linearly with time."""
    seconds = np.arange(count) / rate
    sweep = low * seconds + (high - low) * seconds**2 * rate / (2 * max(count, 1))
    return (0.7 * np.sin(2 * np.pi * sweep)).astype(np.float32)


def noise(count: int, seed: int = 0) -> Samples:
    """White noise."""
    return np.random.default_rng(seed).uniform(-0.5, 0.5, count).astype(np.float32)


def vowel(count: int, rate: int) -> Samples:
    """Harmonics of a voice, with the loudness that formants give them, faded in and out."""
    seconds = np.arange(count) / rate
    made = np.zeros(count)
    for harmonic in np.arange(_PITCH, rate / 2, _PITCH):
        gain = sum(1 / (1 + ((harmonic - middle) / width) ** 2) for middle, width in _FORMANTS)
        made += gain * np.sin(2 * np.pi * harmonic * seconds)
    made *= np.sin(np.pi * np.arange(count) / max(count, 1)) ** 2
    made *= 0.8 / max(float(np.abs(made).max(initial=0)), 1e-9)
    return made.astype(np.float32)


def sounds(rate: int) -> dict[str, Samples]:
    """One of each, a third of a second long, and one containing silence; none is a whole number of hops."""
    count = rate // 3 + 17
    silent = np.zeros(count // 2, np.float32)
    return {
        "chirp": chirp(count, rate),
        "noise": noise(count),
        "vowel": vowel(count, rate),
        "pause": np.concatenate([vowel(count // 2, rate), silent]),
    }
