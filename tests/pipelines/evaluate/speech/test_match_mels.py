"""`score.py match` on speech: every variant is found again from a dump of any form, and each mistake has its line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.evaluate.match import match
from pipelines.evaluate.options import MatchOptions
from pipelines.evaluate.speech.match.measure import Measured
from pipelines.evaluate.speech.match.rank import rank
from pipelines.options import Inputs
from tests.pipelines.evaluate.speech.conftest import REFERENCE, VARIANTS, Mels, make, mels_of

Change = Callable[[NDArray[np.float32]], NDArray[Any]]


@pytest.fixture
def matched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What is printed of a dump."""

    def run(root: Path, mels: Mapping[str, NDArray[Any]], **options: Any) -> str:
        np.savez(tmp_path / "dump.npz", **mels)  # type: ignore[arg-type]  # its own options have other names
        assert match(MatchOptions(shards=str(root), dump=tmp_path / "dump.npz", **options)) == 0
        return capsys.readouterr().out

    return run


def changed(mels: Mels, change: Change) -> dict[str, NDArray[Any]]:
    return {key: change(mel) for key, mel in mels.items()}


@pytest.mark.parametrize("name", [REFERENCE, *VARIANTS])
def test_every_variant_is_found_from_its_own_mels_and_with_noise(
    name: str, speech: Path, matched: Callable[..., str]
) -> None:
    mels, random = mels_of(speech, name), np.random.default_rng(4)
    said = matched(speech, mels)
    assert said.startswith(f"Your device matches `{name}` exactly: every value of 6 recordings.")
    assert "6 of 6" in said
    said = matched(speech, changed(mels, lambda mel: mel + 1e-4 * random.uniform(-1, 1, mel.shape)))
    assert said.startswith(f"Your device matches `{name}`: no value differs by more than 1.0e−04")
    assert "cannot be told apart" not in said


READ: dict[str, tuple[Change, str]] = {
    "log10": (lambda mel: mel / math.log(10), "Your dump is log10:"),
    "dB of magnitudes": (lambda mel: mel * 20 / math.log(10), "Your dump is dB (20 log10):"),
    "dB of powers": (lambda mel: mel * 10 / math.log(10), "Your dump is dB (10 log10):"),
    "no logarithm": (lambda mel: np.exp(mel.astype(np.float64)), "Your dump is magnitudes or powers, no logarithms:"),
    "turned": (lambda mel: mel.T[None], "the dump has frames × bands, and was read so"),
    "later": (lambda mel: mel[:, 1:], "Your dump begins 1 frame later than the set"),
    "earlier": (lambda mel: np.pad(mel, [(0, 0), (2, 0)], "edge"), "Your dump begins 2 frames earlier than the set"),
    "moved": (lambda mel: np.pad(mel[:, 2:], [(0, 0), (0, 2)]), "Your dump begins 2 frames later than the set"),
    "cut": (lambda mel: mel[:, :-1], "Your dump has 1 frame fewer than `numpy_hifigan` in every recording"),
}


@pytest.mark.parametrize("way", READ)
def test_a_dump_is_read_as_what_it_is(way: str, speech: Path, matched: Callable[..., str]) -> None:
    change, words = READ[way]
    said = matched(speech, changed(mels_of(speech, "numpy_hifigan"), change))
    assert words in said
    assert re.search(r"Your device matches `numpy_hifigan`", said)
    assert ("over the frames that both have" in said) == (way in ("later", "earlier", "moved", "cut"))
    assert ("exactly" in said) == (way == "turned")
    assert ("find out where the device pads or cuts" in said) == ("over the frames" in said)


def test_frames_that_differ_in_number_are_said(speech: Path, matched: Callable[..., str]) -> None:
    random = np.random.default_rng(0)
    like = changed(mels_of(speech, REFERENCE), lambda mel: mel[:, :-1] + 0.02 * random.normal(size=mel[:, :-1].shape))
    said = matched(speech, like)
    assert said.startswith(f"Nearest: `{REFERENCE}` (mean |Δ| 0.0")
    assert "has 1 frame fewer than `numpy_stft` in every recording" in said
    assert "As many frames as the dump has `numpy_hifigan`" in said


def test_a_composition_that_is_not_there_is_named(tmp_path: Path, speech: Path, matched: Callable[..., str]) -> None:
    root = make(tmp_path, Inputs(str(speech.parent / "source")), ["linear", "numpy_htk"], 16_000, per_shard=7)
    said = matched(root, mels_of(speech, "linear+numpy_htk"))
    assert said.startswith("No variant matches. It may be `linear+numpy_htk`, which is not in the set")
    assert "generate.py --variant linear+numpy_htk --dataset speech --source … --sample-rate 16000" in said


def test_what_is_of_something_else_is_near_nothing(speech: Path, matched: Callable[..., str]) -> None:
    random = np.random.default_rng(1)
    said = matched(speech, changed(mels_of(speech, REFERENCE), lambda mel: random.normal(size=mel.shape)))
    assert said.startswith("No variant is near")


def test_folders_and_names_are_taken_as_devices_have_them(
    speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dump = tmp_path / "dump"
    dump.mkdir()
    mels = mels_of(speech, "numpy_htk")
    for key, mel in list(mels.items())[:2]:
        np.save(dump / f"{key}.wav.npy", mel)
    np.save(dump / "stranger.npy", mel)
    assert match(MatchOptions(shards=str(speech), dump=dump)) == 0
    said = capsys.readouterr().out
    assert said.startswith("Your device matches `numpy_htk` exactly: every value of 2 recordings.")
    assert "1 arrays of the dump are of no recording of the set (stranger)" in said
    assert "These are few recordings" in said


REFUSED: dict[str, tuple[Callable[[Mels], Mapping[str, Any]], dict[str, Any], str]] = {
    "no key": (lambda mels: {"x": mels[min(mels)]}, {}, "has no recording of the set: it has x"),
    "bands": (lambda mels: {key: mel[:40] for key, mel in mels.items()}, {}, "80 bands × frames is wanted"),
    "NaN": (lambda mels: {key: mel * np.nan for key, mel in mels.items()}, {}, "NaN or infinite"),
    "--mean": (dict, {"mean": (1.0, 1.0, 1.0)}, "--mean is of images"),
    "--channels": (dict, {"channels": "bgr"}, "--channels is of images"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_matched_is_refused_in_a_line(what: str, speech: Path, matched: Callable[..., str]) -> None:
    change, options, words = REFUSED[what]
    with pytest.raises(UsageError, match=words):
        matched(speech, change(mels_of(speech, REFERENCE)), **options)


def test_outputs_are_of_images(speech: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--outputs needs images"):
        match(MatchOptions(shards=str(speech), outputs=tmp_path))
    with pytest.raises(UsageError, match="is not there"):
        match(MatchOptions(shards=str(speech), dump=tmp_path / "none"))


def test_groups_that_are_as_near_in_some_resamples_are_tied() -> None:
    random = np.random.default_rng(2)
    first = random.uniform(0.1, 0.2, 12)
    mean = np.stack([first, first + random.normal(scale=0.01, size=12), first + 0.05, first], axis=1)
    frames = np.zeros((12, 4), np.int64)
    frames[:, 3] = 1
    names = [("a",), ("b",), ("c",), ("d",)]
    found = rank(Measured(names, [str(n) for n in range(12)], mean, mean * 4, frames, np.zeros((12, 4), np.bool_)), 0)
    assert {place.names[0] for place in (found.places[0], *found.tied)} == {"a", "b"}  # d has other frames
    assert found.miss
    assert found.miss.names == ("d",)
    assert (found.places[-1].names, found.places[-1].behind) == (("c",), 1)


def test_real_speech_is_told_apart(data: Path, tmp_path: Path, matched: Callable[..., str]) -> None:
    source = Inputs(str(data / "speech" / "LJSpeech-1.1"))
    root = make(tmp_path, source, ["numpy_htk", "numpy_power", "numpy_symmetric"], 22_050, per_shard=3, limit=3)
    mels = mels_of(root, "numpy_power")
    said = matched(root, changed(mels, lambda mel: mel.T * 10 / math.log(10)))
    assert said.startswith("Your dump is dB (10 log10)")
    assert "Your device matches `numpy_power`" in said
