"""Predictions of mels: figures compared with NumPy and SciPy, all layouts of files, and a message for each mistake."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from pipelines.errors import RunError, UsageError
from pipelines.evaluate.layers import layers
from pipelines.evaluate.options import LayersOptions, Options
from pipelines.evaluate.run import score
from pipelines.options import Inputs, Target
from tests import fuzzing
from tests.pipelines.evaluate.speech.conftest import REFERENCE, Mels, mels_of, save
from tests.pipelines.evaluate.speech.models import autoencoder

Json = dict[str, Any]


def report(root: Path, predictions: Path, output: Path, **options: Any) -> Json:
    """The results.json of predictions."""
    given = Options(shards=str(root), predictions=str(predictions), output=str(output), **options)
    assert score(given) == 0
    found: Json = json.loads((output / "results.json").read_text())
    return found


def noisy(mels: Mels, seed: int, scale: float) -> Mels:
    """Predictions with an error that varies by recording."""
    random = np.random.default_rng(seed)
    return {
        key: (mel + scale * random.uniform() + scale * random.normal(size=mel.shape)).astype(np.float32)
        for key, mel in mels.items()
    }


def errors(predicted: Mels, mels: Mels) -> NDArray[np.float64]:
    """The mean square difference of each recording over the frames that both have."""
    found = []
    for key, mel in mels.items():
        both = min(mel.shape[1], predicted[key].shape[1])
        found.append(np.square(predicted[key][:, :both].astype(np.float64) - mel[:, :both]).mean())
    return np.array(found)


@pytest.fixture(scope="module")
def predicted(speech: Path) -> dict[str, Mels]:
    names = (REFERENCE, "numpy_symmetric", "numpy_htk", "numpy_hifigan")
    return {name: noisy(mels_of(speech, name), seed, 0.3 + 0.1 * seed) for seed, name in enumerate(names)}


@pytest.mark.parametrize("against", ["reference", "variant"])
def test_figures_and_intervals_are_those_of_numpy_and_scipy(
    against: Any, speech: Path, predicted: dict[str, Mels], tmp_path: Path
) -> None:
    found = report(speech, save(tmp_path / "p", predicted), tmp_path / "r", against=against, resamples=20_000)
    theirs = errors(predicted[REFERENCE], mels_of(speech, REFERENCE))
    assert (found["against"], found["n"], found["left_out"]) == (against, len(theirs), 1)
    assert found["variants"][REFERENCE]["mse"] == pytest.approx(theirs.mean())
    for name in predicted.keys() - {REFERENCE}:
        own = errors(predicted[name], mels_of(speech, name if against == "variant" else REFERENCE))
        line = found["variants"][name]
        assert line["mse"] == pytest.approx(own.mean())
        assert line["delta"] == pytest.approx(own.mean() - theirs.mean())
        drawn = stats.bootstrap(
            (own - theirs,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(5)
        )
        spread = float(drawn.standard_error)
        assert line["ci95"] == pytest.approx(list(drawn.confidence_interval), abs=0.2 * spread)
        assert (line["p_holm"] < 0.05) <= (line["ci95"][0] > 0 or line["ci95"][1] < 0)
    costs = {name: line["delta"] for name, line in found["variants"].items() if name != REFERENCE}
    assert found["stages"]["stft"]["mean"] == pytest.approx(np.mean(list(costs.values())))
    assert found["stages"]["stft"]["worst"] == max(costs, key=lambda name: costs[name])


def as_folders(folder: Path, predicted: dict[str, Mels]) -> None:
    for name, mels in predicted.items():
        (folder / name).mkdir(parents=True)
        for key, mel in mels.items():
            np.save(folder / name / f"{key}.npy", mel.astype(np.float64)[None])


def turned(folder: Path, predicted: dict[str, Mels]) -> None:
    save(folder, {name: {key: mel.T for key, mel in mels.items()} for name, mels in predicted.items()})


@pytest.mark.parametrize("write", [as_folders, turned])
def test_other_layouts_of_files_give_the_same_figures(
    write: Callable[[Path, dict[str, Mels]], None],
    speech: Path,
    predicted: dict[str, Mels],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(tmp_path / "other", predicted)
    plain = report(speech, save(tmp_path / "p", predicted), tmp_path / "r")
    other = report(speech, tmp_path / "other", tmp_path / "s")
    assert other["variants"] == plain["variants"]
    assert ("is read as frames × bands" in capsys.readouterr().out) == (write is turned)


def test_frames_that_both_have_are_compared_and_counted(speech: Path, tmp_path: Path) -> None:
    mels = mels_of(speech, REFERENCE)
    first = next(iter(mels))
    cut = {key: mel[:, :-2] if key == first else np.pad(mel, [(0, 0), (0, 3)]) for key, mel in mels.items()}
    line = report(speech, save(tmp_path / "p", {REFERENCE: cut}), tmp_path / "r")["variants"][REFERENCE]
    assert (line["mse"], line["other_length"]) == (0, len(mels))


def test_the_references_predictions_stand_for_all_if_compared_with_each_variants_mels(
    speech: Path, tmp_path: Path
) -> None:
    mels = mels_of(speech, REFERENCE)
    found = report(speech, save(tmp_path / "p", {REFERENCE: mels}), tmp_path / "r", against="variant")
    htk = found["variants"]["numpy_htk"]
    assert htk["mse"] == pytest.approx(errors(mels, mels_of(speech, "numpy_htk")).mean())
    assert htk["mse"] == pytest.approx(htk["residual_mse"], rel=1e-6)
    assert any("Only numpy_stft has predictions" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("change", "doubt"),
    [
        (lambda mel: mel / math.log(10), "if its predictions were log10"),
        (lambda mel: mel * 20 / math.log(10), "if its predictions were dB (20 log10)"),
        (lambda mel: (mel + 6) / 3, "more than that of predicting each band's mean"),
        (lambda mel: mel + 0.1, ""),
    ],
)
def test_predictions_that_are_not_natural_logarithms_are_reported(
    change: Callable[[NDArray[Any]], NDArray[Any]], doubt: str, speech: Path, tmp_path: Path
) -> None:
    mels = {key: change(mel) for key, mel in mels_of(speech, REFERENCE).items()}
    found = report(speech, save(tmp_path / "p", {REFERENCE: mels}), tmp_path / "r")
    doubts = [note for note in found["notes"] if "reference's MSE is" in note]
    assert len(doubts) == bool(doubt)
    assert doubt in "".join(doubts)


def without_one(mels: Mels) -> Mels:
    return dict(list(mels.items())[1:])


BROKEN: dict[str, tuple[Callable[[Mels], Any], str]] = {
    "lacking": (without_one, "lacks 1 of 6 keys"),
    "strange": (lambda mels: {**mels, "other": mels[min(mels)]}, "has 1 key that its shards lack"),
    "bands": (lambda mels: {key: mel[:64] for key, mel in mels.items()}, "a spectrogram of 80 bands × frames"),
    "square": (lambda mels: {key: np.ones((80, 80)) for key in mels}, "can be bands × frames or frames × bands"),
    "both ways": (
        lambda mels: {key: mel if key == min(mels) else mel.T for key, mel in mels.items()},
        "are transposed",
    ),
    "empty": (lambda mels: {key: mel[:, :0] for key, mel in mels.items()}, "is 80×0"),
    "short": (lambda mels: {key: mel[:, : mel.shape[1] * 4 // 5] for key, mel in mels.items()}, "predict whole"),
    "not finite": (lambda mels: {key: np.where(mel > -5, mel, np.nan) for key, mel in mels.items()}, "NaN or infinity"),
    "complex": (lambda mels: {key: mel + 1j for key, mel in mels.items()}, "has dtype complex64, not real numbers"),
    "objects": (lambda mels: {key: np.array([None]) for key in mels}, "cannot be read"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_bad_predictions_are_refused_in_one_line(name: str, speech: Path, tmp_path: Path) -> None:
    change, words = BROKEN[name]
    save(tmp_path / "p", {REFERENCE: change(mels_of(speech, REFERENCE))})
    with pytest.raises(UsageError, match=re.escape(words)):
        report(speech, tmp_path / "p", tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_file_that_is_not_an_npz_is_refused(speech: Path, tmp_path: Path) -> None:
    (tmp_path / f"{REFERENCE}.npz").write_bytes(b"PK nothing")
    with pytest.raises(UsageError, match=r"is not an \.npz file"):
        report(speech, tmp_path, tmp_path / "r")
    with zipfile.ZipFile(tmp_path / f"{REFERENCE}.npz", "w") as archive:
        archive.writestr("phrase_1.npy", b"")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("phrase_1.npy", b"")
    with pytest.raises(UsageError, match=r"phrase_1\.npy more than once"):
        report(speech, tmp_path, tmp_path / "r")


def test_a_damaged_array_is_refused(speech: Path, tmp_path: Path) -> None:
    path = tmp_path / f"{REFERENCE}.npz"
    np.savez_compressed(path, **mels_of(speech, REFERENCE))  # type: ignore[arg-type]  # its own options have other names
    data = bytearray(path.read_bytes())
    data[3000:3400] = b"\xff" * 400
    path.write_bytes(data)
    with pytest.raises(UsageError, match="cannot be read"):
        report(speech, tmp_path, tmp_path / "r")


def test_named_noise_without_predictions_is_reported(
    speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "p", {REFERENCE: mels_of(speech, REFERENCE)})
    report(speech, tmp_path / "p", tmp_path / "r", variants=("int8",))
    assert "Not scored, for lack of predictions: int8." in capsys.readouterr().out


OF_IMAGES: dict[str, dict[str, Any]] = {
    "--boxes": {"boxes": "shard"},
    "--class-offset": {"class_offset": 0},
    "--annotations": {"inputs": Inputs(annotations="a.json")},
    "--labels": {"inputs": Inputs(labels="l.txt")},
    "--allow-empty": {"allow_empty": True},
    "--example": {"example": ("a",)},
    "--geometry": {"target": Target(geometry="crop")},
    "--device": {"device": "cuda"},
}


@pytest.mark.parametrize("flag", OF_IMAGES)
def test_options_for_images_are_refused(flag: str, speech: Path) -> None:
    with pytest.raises(UsageError, match=f"^{flag} applies only to images"):
        score(replace(Options(shards=str(speech), predictions="p"), **OF_IMAGES[flag]))


def test_a_dataset_that_is_not_that_of_the_shards_is_refused(tmp_path: Path) -> None:
    images = fuzzing.make(tmp_path)
    given = Options(shards=str(images), dataset="speech")
    with pytest.raises(UsageError, match=r"--dataset speech, but .*sample has shards of sample: leave out --dataset"):
        score(replace(given, predictions="p"))
    autoencoder(tmp_path / "ae.onnx")
    mine = tmp_path / "mine"
    shutil.copytree(images, mine)
    for shards, words in (
        (images, "is for sample: leave out --dataset, or give"),
        (tmp_path / "imagenet", "is for imagenet: leave out --dataset, or give"),  # still to be made
        (mine, "has another name: give"),
    ):
        with pytest.raises(UsageError, match=rf"--dataset speech, but --shards {shards} {words} --shards .*/speech$"):
            score(replace(given, shards=str(shards), model=str(tmp_path / "ae.onnx")))


def test_options_and_commands_for_the_other_kind_of_set_are_refused(speech: Path, tmp_path: Path) -> None:
    images = fuzzing.make(tmp_path)
    for given, flag in (({"against": "variant"}, "--against"), ({"ids": "ids.jsonl"}, "--ids")):
        with pytest.raises(UsageError, match=f"^{flag} does not apply to sample shards"):
            score(Options(shards=str(images), predictions="p", **given))  # type: ignore[arg-type]  # one of the two
    with pytest.raises(UsageError, match="layers needs images"):
        layers(LayersOptions(shards=str(speech), model="m.onnx", variants=("int8",)))
    with pytest.raises(UsageError, match="pil_lanczos is for images"):
        score(Options(shards=str(speech), predictions="p", variants=("pil_lanczos",)))


def test_all_forms_of_the_report_have_all_variants(
    speech: Path, predicted: dict[str, Mels], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = report(speech, save(tmp_path / "p", predicted), tmp_path / "r", name="<b>tts</b>")
    names = set(found["variants"])
    page, markdown = ((tmp_path / "r" / name).read_text() for name in ("report.html", "report.md"))
    assert set(re.findall(r'<tr data-variant="([^"]+)"', page)) == names
    assert page.count("<svg") == 1  # one stage differs
    assert not re.search(r"<script|https?://(?!www\.w3\.org)|<b>tts", page)
    assert set(re.findall(r"^\| `([^`]+)` \|", markdown, re.MULTILINE)) == names
    with open(tmp_path / "r" / "results.csv", newline="") as file:
        rows = {row["variant"]: row for row in csv.DictReader(file)}
    assert set(rows) == names
    assert float(rows["numpy_htk"]["delta"]) == pytest.approx(found["variants"]["numpy_htk"]["delta"], rel=1e-5)
    printed = capsys.readouterr().out
    assert "Left out: 1 recording that failed in some variant." in printed
    assert f"raises the MSE by {max(line['delta'] for line in found['variants'].values()):.4f}" in printed


def test_a_damaged_spectrogram_is_named(speech: Path, predicted: dict[str, Mels], tmp_path: Path) -> None:
    root = shutil.copytree(speech, tmp_path / "speech")
    tar = min((root / REFERENCE).glob("*.tar"))
    at = tar.read_bytes().index(b"'descr'")
    with open(tar, "r+b") as file:
        file.seek(at)
        file.write(b"'desxr'")
    save(tmp_path / "p", {REFERENCE: predicted[REFERENCE]})
    with pytest.raises(RunError, match=r"the spectrogram of phrase_1 cannot be read .* run verify\.py"):
        report(root, tmp_path / "p", tmp_path / "r")
