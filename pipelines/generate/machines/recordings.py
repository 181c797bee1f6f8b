"""The probe recordings: the built-in ones, and what each method makes of them at other rates than their own."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from generators.audio import recording
from generators.audio.settings import MelSettings, Samples
from generators.registry import Method
from pipelines.generate.calls import Caller, Failure
from pipelines.generate.given import Given
from pipelines.generate.sources.spoken import SpokenSource

# Rates in Hz that recordings come in, none of them that of the built-in ones.
_RATES = (8_000, 44_100)


def given() -> list[Given]:
    """The recordings as samples, in order."""
    source = SpokenSource()
    samples = list(source.listing().samples)
    return [Given(sample, data) for sample, data in zip(samples, source.read(samples), strict=True)]


def outputs(method: Method, settings: MelSettings) -> Iterator[bytes]:
    """What a method gives, one recording after the other, or why it gives none."""
    caller = Caller("", {}, None)
    for one in given():
        assert isinstance(one.data, bytes)
        samples = recording.read(one.data).samples
        if method.stage == "stft":
            yield from _parts(caller.attempt(method.token, functools.partial(method.load_audio(), samples, settings)))
            continue
        for rate in _RATES:  # as if it had been recorded at that
            call = functools.partial(method.load_audio(), samples, rate, settings.rate)
            yield from _parts(caller.attempt(method.token, call))


def _parts(made: Samples | Failure) -> Iterator[bytes]:
    if isinstance(made, Failure):
        yield made.reason.encode()
    else:
        yield repr(made.shape).encode()
        yield made.tobytes()
