"""Renders one recording through many variants: read once, resampled once per method, transformed once per operator.

Owns the content of a recording's row. If a library fails, only the variants that use it lose the recording: the row
keeps the reason, which begins with the method's token.
"""

from __future__ import annotations

import functools
import hashlib
import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from generators.audio import recording
from generators.audio.recording import Recording
from generators.audio.settings import MelSettings
from generators.registry import Method
from generators.variant import Variant
from manifests.mels import MEL, MelRow, mel_sha256
from manifests.residual import mel_residual
from manifests.verify import decode_mel
from pipelines.generate.calls import EMPTY, Call, Caller, Failure
from pipelines.generate.given import Given, Rendered
from pipelines.generate.sources import Missing

Floats = NDArray[np.float32]
# The key of a sample's `extra` that becomes the row's `text` and not part of the `json` member.
TEXT = "text"


class _Sound(NamedTuple):
    """Samples at the rate of the spectrograms, and their digest."""

    samples: Floats
    sha256: str


@dataclass(frozen=True)
class _Mel:
    """A spectrogram, with its digest and encoding."""

    values: Floats

    @functools.cached_property
    def sha256(self) -> str:
        return mel_sha256(self.values)

    @functools.cached_property
    def encoded(self) -> bytes:
        return encode_mel(self.values)


@dataclass(frozen=True)
class SpeechRenderer:
    """Renders recordings for a set of variants against a reference, which need not be among them.

    Calls in `lethal` are not made: they fail with the reason given there. `tell` is called with every other call before
    it is made, and with None after it has returned.
    """

    variants: Sequence[Variant]
    reference: Variant
    mel: MelSettings
    shard: int
    lethal: Mapping[Call, str] = field(default_factory=dict)
    tell: Callable[[Call | None], None] | None = None

    def render_all(self, given: Iterable[Given]) -> Iterator[list[Rendered]]:
        """A result for each variant, in order, for each recording, in order. One is in memory at a time."""
        for one in given:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about odd files; what matters becomes the row's error
                rendered = list(self._render(one))
            yield rendered

    def _render(self, given: Given) -> Iterator[Rendered]:
        sample, data, _ = given
        caller = Caller(sample.key, self.lethal, self.tell)
        read = _read(data, caller)
        mels = _Mels(read, self.mel, caller)
        base = mels.of(self.reference)
        known = read if isinstance(read, Recording) else None
        extra = dict(sample.extra)
        fields: dict[str, Any] = {
            "key": sample.key,
            "shard": self.shard,
            "text": str(extra.pop(TEXT, "")),
            "source_path": sample.path,
            "source_sha256": "" if isinstance(data, Missing) else hashlib.sha256(data).hexdigest(),
            "source_rate": known.rate if known else 0,
            "source_channels": known.channels if known else 0,
            "source_samples": len(known.samples) if known else 0,
            "extra": extra,
        }
        for variant in self.variants:
            made = mels.of(variant)
            if isinstance(made, Failure):
                yield Rendered(MelRow(**fields, status="failed", error=made.reason), None)
                continue
            compared = None if isinstance(base, Failure) else mel_residual(made.values, base.values)
            row = MelRow(
                **fields,
                bands=made.values.shape[0],
                frames=made.values.shape[1],
                mel_sha256=made.sha256,
                residual_mse=compared.mse if compared else None,
                residual_max_abs=compared.max_abs if compared else None,
                residual_frames=compared.frames if compared else None,
            )
            yield Rendered(row, {MEL: made.encoded})


class _Mels:
    """Everything made from a recording. If methods agree to the last bit, the work that follows is done once."""

    def __init__(self, read: Recording | Failure, settings: MelSettings, caller: Caller) -> None:
        self._read, self._settings, self._caller = read, settings, caller
        self._sounds: dict[Method, _Sound | Failure] = {}
        self._mels: dict[tuple[Method, str], _Mel | Failure] = {}

    def of(self, variant: Variant) -> _Mel | Failure:
        """A variant's spectrogram."""
        sound = self._sound(variant.method("resample"))
        if isinstance(sound, Failure):
            return sound
        method = variant.method("stft")
        key = method, sound.sha256
        if key not in self._mels:
            self._mels[key] = self._mel(method, sound.samples)
        return self._mels[key]

    def _sound(self, method: Method) -> _Sound | Failure:
        if method not in self._sounds:
            self._sounds[method] = self._resampled(method)
        return self._sounds[method]

    def _resampled(self, method: Method) -> _Sound | Failure:
        read, rate = self._read, self._settings.rate
        if isinstance(read, Failure):
            return read
        made: Floats | Failure = read.samples
        if read.rate != rate:  # no method changes samples that have the rate already
            call = functools.partial(method.load_audio(), read.samples, read.rate, rate)
            made = _checked(method, 1, self._caller.attempt(method.token, call))
        if isinstance(made, Failure):
            return made
        return _Sound(made, hashlib.sha256(made.data).hexdigest())

    def _mel(self, method: Method, samples: Floats) -> _Mel | Failure:
        call = functools.partial(method.load_audio(), samples, self._settings)
        made = _checked(method, 2, self._caller.attempt(method.token, call))
        if isinstance(made, Failure):
            return made
        return _Mel(made)


def _read(data: bytes | Missing, caller: Caller) -> Recording | Failure:
    if isinstance(data, Missing):
        return Failure(data.reason)
    if not data:
        return Failure(f"source: {EMPTY}")
    return caller.attempt("source", lambda: recording.read(data))


def _checked(method: Method, dimensions: int, made: Floats | Failure) -> Floats | Failure:
    """A method's output as contiguous float32; a failure if it has the wrong shape or is not finite."""
    if isinstance(made, Failure):
        return made
    if made.ndim != dimensions or not made.size or not np.isfinite(made).all():
        other = f"an array of {made.ndim} dimensions, not {dimensions}"
        what = "nothing" if not made.size else other if made.ndim != dimensions else "values that are not finite"
        return Failure(f"{method.token}: it gave {what}")
    return np.ascontiguousarray(made, np.float32)


def encode_mel(values: Floats) -> bytes:
    """A spectrogram as the member `mel.npy`. Raises ValueError if it would not be read back as it is."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values, "<f4"), allow_pickle=False)
    data = buffer.getvalue()
    if not np.array_equal(decode_mel(data), values):
        raise ValueError("the encoded spectrogram does not decode to its values")
    return data
