"""The probe recordings: the built-in ones, and each method's output for them at other sample rates."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from generators.audio import recording
from generators.audio.settings import MelSettings
from generators.registry import Method
from pipelines.generate.calls import Caller
from pipelines.generate.given import Given
from pipelines.generate.machines.pictures import parts
from pipelines.generate.sources.spoken import SpokenSource

# Rates in Hz at which recordings are common; the built-in ones have another.
_RATES = (8_000, 44_100)


def given() -> list[Given]:
    """The recordings as samples, in order."""
    source = SpokenSource()
    samples = list(source.listing().samples)
    return [Given(sample, data) for sample, data in zip(samples, source.read(samples), strict=True)]


def outputs(method: Method, settings: MelSettings) -> Iterator[bytes]:
    """A method's output for one recording after another, or the reason if there is none."""
    caller = Caller("", {}, None)
    for one in given():
        assert isinstance(one.data, bytes)
        samples = recording.read(one.data).samples
        if method.stage == "stft":
            yield from parts(caller.attempt(method.token, functools.partial(method.load_audio(), samples, settings)))
            continue
        for rate in _RATES:  # as if it had been recorded at that rate
            call = functools.partial(method.load_audio(), samples, rate, settings.rate)
            yield from parts(caller.attempt(method.token, call))
