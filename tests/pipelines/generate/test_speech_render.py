"""Recordings through methods that fail in various ways, and how often each is called."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from generators.audio.settings import MelSettings
from generators.registry import METHODS, Library, Method
from generators.variant import Variant, parse, reference
from manifests.mels import MelRow
from pipelines.generate.calls import Call
from pipelines.generate.given import Given
from pipelines.generate.machines.recordings import given
from pipelines.generate.sources import Missing, Sample
from pipelines.generate.speech.render import SpeechRenderer

# 16,000 Hz, so that every built-in recording is resampled.
MEL = MelSettings.of(16_000)


@dataclass(frozen=True)
class Odd(Library):
    """A library for tests, whose one function is `makes`."""

    makes: Callable[..., Any] = field(default=len, compare=False)

    def function(self, name: str, module: str = "") -> Callable[..., Any]:
        return self.makes


def known(**makes: Callable[..., Any]) -> Mapping[str, Method]:
    """All methods, and these as well: those that begin with `r` resample."""
    odd = {token: Odd(token, "", "", makes=function) for token, function in makes.items()}
    methods = {t: Method(t, "resample" if t.startswith("r") else "stft", odd[t], "") for t in makes}
    return {**METHODS, **methods}


def render(
    samples: list[Given], variants: list[str], methods: Mapping[str, Method], **options: Any
) -> Iterator[list[MelRow]]:
    base = reference("linear+numpy_stft", stages=("resample", "stft"), known=methods)
    asked: list[Variant] = [parse(text, base, methods) for text in variants]
    for rendered in SpeechRenderer(asked, base, MEL, 0, **options).render_all(samples):
        rows = [one.row for one in rendered if isinstance(one.row, MelRow)]
        assert [one.files is None for one in rendered] == [row.status == "failed" for row in rows]
        yield rows


def refuses(*_: object) -> Any:
    raise RuntimeError("cannot bear it\nat 0x7f00")


@pytest.mark.parametrize(
    ("stft", "reason"),
    [
        (refuses, "odd: cannot bear it"),
        (lambda samples, settings: np.full((80, 3), np.nan, np.float32), "odd: it gave values that are not finite"),
        (lambda samples, settings: np.zeros((80, 0), np.float32), "odd: it gave nothing"),
        (lambda samples, settings: samples, "odd: it gave an array of 1 dimensions, not 2"),
    ],
)
def test_a_method_that_fails_costs_only_its_variants(stft: Callable[..., Any], reason: str) -> None:
    (rows,) = render(given()[:1], ["odd", "numpy_htk"], known(odd=stft))
    assert [row.error for row in rows] == [reason, ""]
    assert (rows[0].source_rate, rows[0].text, rows[0].mel_sha256) == (22_050, "See.", "")
    assert rows[1].residual_mse


def test_without_a_reference_there_is_nothing_to_compare_with() -> None:
    methods = known(r_odd=refuses)
    base = parse("r_odd", reference("", stages=("resample", "stft")), methods)
    variant = parse("soxr_hq", base, methods)
    ((rendered,),) = SpeechRenderer([variant], base, MEL, 0).render_all(given()[:1])
    assert isinstance(rendered.row, MelRow)
    assert rendered.row.status == "ok"
    assert (rendered.row.residual_mse, rendered.row.residual_frames) == (None, None)


def test_a_lack_of_memory_is_not_the_recordings_fault() -> None:
    def hungry(*_: object) -> Any:
        raise MemoryError("no more")

    with pytest.raises(MemoryError, match="odd: no more"):
        list(render(given()[:1], ["odd"], known(odd=hungry)))


def test_calls_are_reported_and_lethal_ones_not_made() -> None:
    reported: list[Call | None] = []
    one = given()[0]
    lethal = {Call(one.sample.key, "odd"): "ended the process (SIGSEGV)"}
    (rows,) = render([one], ["odd", "swresample"], known(odd=refuses), lethal=lethal, tell=reported.append)
    assert rows[0].error == "odd: ended the process (SIGSEGV)"
    calls = [call.token for call in reported if call]
    assert calls == ["source", "linear", "numpy_stft", "swresample", "numpy_stft"]
    assert reported[1::2] == [None] * len(calls)


def test_identical_samples_are_transformed_once() -> None:
    counts: dict[str, int] = {}

    def counted(token: str, *arguments: Any) -> Any:
        counts[token] = counts.get(token, 0) + 1
        return METHODS["linear" if token.startswith("r") else "numpy_stft"].load_audio()(*arguments)

    methods = known(**{token: functools.partial(counted, token) for token in ("r_one", "r_two", "odd")})
    (rows,) = render(given()[:1], ["r_one+odd", "r_two+odd", "r_two"], methods)
    assert counts == {"r_one": 1, "r_two": 1, "odd": 1}
    assert {row.mel_sha256 for row in rows} == {rows[0].mel_sha256}
    assert [row.residual_max_abs for row in rows] == [0, 0, 0]


def test_missing_and_empty_recordings_have_rows() -> None:
    sample = Sample("a", -1, "a.wav", 0, (), (("text", "ah"), ("speaker", 3)))
    absent, empty = render(
        [Given(sample, Missing("it is not in the source")), Given(sample, b"")], ["numpy_htk"], METHODS
    )
    assert (absent[0].error, absent[0].source_sha256) == ("it is not in the source", "")
    assert empty[0].error == "source: the file is empty"
    assert (empty[0].text, empty[0].extra) == ("ah", {"speaker": 3})
