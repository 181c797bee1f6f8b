"""`score.py match` on speech: it finds every variant from a dump in any form, and each mistake has its message."""

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
    """Matches a dump and returns the output."""

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
    printed = matched(speech, mels)
    assert printed.startswith(f"Your device matches `{name}` exactly: every value of 6 recordings.")
    assert "6 of 6" in printed
    printed = matched(speech, changed(mels, lambda mel: mel + 1e-4 * random.uniform(-1, 1, mel.shape)))
    assert printed.startswith(f"Your device matches `{name}`: no value differs by more than 1.0e−04")
    assert "cannot be distinguished" not in printed


READ: dict[str, tuple[Change, str]] = {
    "log10": (lambda mel: mel / math.log(10), "Your dump is log10:"),
    "dB of magnitudes": (lambda mel: mel * 20 / math.log(10), "Your dump is dB (20 log10):"),
    "dB of powers": (lambda mel: mel * 10 / math.log(10), "Your dump is dB (10 log10):"),
    "no logarithm": (lambda mel: np.exp(mel.astype(np.float64)), "Your dump is magnitudes or powers, not logarithms:"),
    "turned": (lambda mel: mel.T[None], "the dump was read as frames × bands"),
    "later": (lambda mel: mel[:, 1:], "Your dump begins 1 frame later than the set"),
    "earlier": (lambda mel: np.pad(mel, [(0, 0), (2, 0)], "edge"), "Your dump begins 2 frames earlier than the set"),
    "moved": (lambda mel: np.pad(mel[:, 2:], [(0, 0), (0, 2)]), "Your dump begins 2 frames later than the set"),
    "cut": (lambda mel: mel[:, :-1], "Your dump has 1 frame fewer than `numpy_hifigan` in every recording"),
}


@pytest.mark.parametrize("way", READ)
def test_the_format_of_a_dump_is_recognised(way: str, speech: Path, matched: Callable[..., str]) -> None:
    change, words = READ[way]
    printed = matched(speech, changed(mels_of(speech, "numpy_hifigan"), change))
    assert words in printed
    assert re.search(r"Your device matches `numpy_hifigan`", printed)
    assert ("over the frames that both have" in printed) == (way in ("later", "earlier", "moved", "cut"))
    assert ("exactly" in printed) == (way == "turned")
    assert ("find out where the device pads or cuts" in printed) == ("over the frames" in printed)


def test_a_different_number_of_frames_is_reported(speech: Path, matched: Callable[..., str]) -> None:
    random = np.random.default_rng(0)
    like = changed(mels_of(speech, REFERENCE), lambda mel: mel[:, :-1] + 0.02 * random.normal(size=mel[:, :-1].shape))
    printed = matched(speech, like)
    assert printed.startswith(f"Nearest: `{REFERENCE}` (mean |Δ| 0.0")
    assert "has 1 frame fewer than `numpy_stft` in every recording" in printed
    assert "The nearest variant with as many frames as the dump is `numpy_hifigan`" in printed


def test_a_composition_that_the_set_lacks_is_named(tmp_path: Path, speech: Path, matched: Callable[..., str]) -> None:
    root = make(tmp_path, Inputs(str(speech.parent / "source")), ["linear", "numpy_htk"], 16_000, per_shard=7)
    printed = matched(root, mels_of(speech, "linear+numpy_htk"))
    assert printed.startswith("No variant matches. It may be `linear+numpy_htk`, which is not in the set")
    assert "generate.py --variant linear+numpy_htk --dataset speech --source … --sample-rate 16000" in printed


def test_a_dump_of_other_values_is_near_no_variant(speech: Path, matched: Callable[..., str]) -> None:
    random = np.random.default_rng(1)
    printed = matched(speech, changed(mels_of(speech, REFERENCE), lambda mel: random.normal(size=mel.shape)))
    assert printed.startswith("No variant is near")


def test_a_folder_with_names_as_devices_write_them_is_read(
    speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dump = tmp_path / "dump"
    dump.mkdir()
    mels = mels_of(speech, "numpy_htk")
    for key, mel in list(mels.items())[:2]:
        np.save(dump / f"{key}.wav.npy", mel)
    np.save(dump / "stranger.npy", mel)
    assert match(MatchOptions(shards=str(speech), dump=dump)) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Your device matches `numpy_htk` exactly: every value of 2 recordings.")
    assert "skipped 1 array not named by a key of the shards (stranger)" in printed
    assert "These are few recordings" in printed


def test_a_folder_with_several_dumps_is_refused(
    speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mels = mels_of(speech, "numpy_htk")
    np.savez(tmp_path / "a.npz", **mels)  # type: ignore[arg-type]  # its own options have other names
    assert match(MatchOptions(shards=str(speech), dump=tmp_path)) == 0
    assert "matches `numpy_htk` exactly" in capsys.readouterr().out
    key = min(mels)
    np.save(tmp_path / f"{key}.npy", mels[key])
    with pytest.raises(UsageError, match=rf"has a\.npz and {key}\.npy: keep the \.npz or the \.npy files"):
        match(MatchOptions(shards=str(speech), dump=tmp_path))
    (tmp_path / f"{key}.npy").rename(tmp_path / "b.npz")
    with pytest.raises(UsageError, match=r"has a\.npz and b\.npz: give one of them"):
        match(MatchOptions(shards=str(speech), dump=tmp_path))


REFUSED: dict[str, tuple[Callable[[Mels], Mapping[str, Any]], dict[str, Any], str]] = {
    "no key": (lambda mels: {"x": mels[min(mels)]}, {}, "has no recording of the set: it has x"),
    "bands": (lambda mels: {key: mel[:40] for key, mel in mels.items()}, {}, "a spectrogram of 80 bands × frames"),
    "NaN": (lambda mels: {key: mel * np.nan for key, mel in mels.items()}, {}, "NaN or infinity"),
    "--mean": (dict, {"mean": (1.0, 1.0, 1.0)}, "--mean applies only to images"),
    "--channels": (dict, {"channels": "bgr"}, "--channels applies only to images"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_bad_dump_is_refused_in_one_line(what: str, speech: Path, matched: Callable[..., str]) -> None:
    change, options, words = REFUSED[what]
    with pytest.raises(UsageError, match=words):
        matched(speech, change(mels_of(speech, REFERENCE)), **options)


def test_outputs_and_missing_dumps_are_refused(speech: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--outputs needs images"):
        match(MatchOptions(shards=str(speech), outputs=tmp_path))
    with pytest.raises(UsageError, match="does not exist"):
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


def test_variants_of_real_speech_are_distinguished(data: Path, tmp_path: Path, matched: Callable[..., str]) -> None:
    source = Inputs(str(data / "speech" / "LJSpeech-1.1"))
    root = make(tmp_path, source, ["numpy_htk", "numpy_power", "numpy_symmetric"], 22_050, per_shard=3, limit=3)
    mels = mels_of(root, "numpy_power")
    printed = matched(root, changed(mels, lambda mel: mel.T * 10 / math.log(10)))
    assert printed.startswith("Your dump is dB (10 log10)")
    assert "Your device matches `numpy_power`" in printed
