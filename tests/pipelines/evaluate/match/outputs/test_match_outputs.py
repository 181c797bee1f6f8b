"""`score.py match --outputs`: what the model puts out on any variant is found to be that variant's, in any form."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import score
from pipelines.errors import UsageError
from pipelines.evaluate.match import match
from pipelines.evaluate.options import MatchOptions
from pipelines.shards import Shards
from tests.pipelines.evaluate.conftest import COMBINED
from tests.pipelines.evaluate.match.outputs.devices import Floats, pooled_model, put_out, two_headed_model

Scores = dict[str, Floats]


def asked(shards: Shards, **words: Any) -> MatchOptions:
    return MatchOptions(str(shards.root), **words)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noised models lie here, so that int8 is made once."""
    return tmp_path_factory.mktemp("match")


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return pooled_model(folder / "pooled.onnx")


def as_npy(path: Path, scores: Scores) -> Path:
    path.mkdir()
    for key, values in scores.items():
        np.save(path / f"{key}.npy", values)
    return path


def as_npz(path: Path, scores: Scores) -> Path:
    path.mkdir()
    np.savez(path / "all.npz", **cast(Any, scores))
    return path


def as_json(path: Path, scores: Scores) -> Path:
    path.with_suffix(".json").write_text(json.dumps({key: values.tolist() for key, values in scores.items()}))
    return path.with_suffix(".json")


def as_named_json(path: Path, scores: Scores) -> Path:
    path.mkdir()
    for key, values in scores.items():
        (path / f"{key}.json").write_text(json.dumps({"logits": values[0].tolist()}))
    return path


def as_csv(path: Path, scores: Scores) -> Path:
    with open(path.with_suffix(".csv"), "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["key", *range(next(iter(scores.values())).size)])
        writer.writerows([key, *map(repr, values[0].tolist())] for key, values in scores.items())
    return path.with_suffix(".csv")


FORMS = (as_npy, as_npz, as_json, as_named_json, as_csv)
VARIANTS = (
    "pil_nearest",
    "ffmpeg+pil_nearest",
    "ceil_mode",
    "int8",
    "fp16",
    "opencv_area+fp16",
    "pil_nearest+int8_tensor",
    "ffmpeg+ceil_mode+int8",
    f"{COMBINED}+ceil_mode+fp16",
)


def first_lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(("place", "variant"), list(enumerate(VARIANTS)))
def test_a_variants_own_outputs_rank_it_first(
    place: int,
    variant: str,
    shards: Shards,
    model: Path,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scores = {key: found[0] for key, found in put_out(shards, variant, model, folder).items()}
    outputs = FORMS[place % len(FORMS)](tmp_path / "device", scores)
    assert match(asked(shards, outputs=outputs, model=str(model), output=str(folder))) == 0
    verdict, *lines = first_lines(capsys)
    assert re.match(rf"Your device puts out .* `{re.escape(variant)}`.*, exactly: every value of 8 images\.", verdict)
    stage = {"pil": "resize", "opencv": "resize", "ffmpeg": "decode", "ceil": "pool"}.get(
        re.split("[_+]", variant)[0], "precision"
    )
    assert f"First stage that differs from the reference (`pil_bilinear`): {stage}." in lines
    assert any(re.match(rf" +1  {re.escape(variant)} .* 8 of 8", line) for line in lines)


def test_the_reference_is_found_and_its_twins_are_tied(
    shards: Shards, model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = {key: found[0] for key, found in put_out(shards, "opencv", model, folder, 12).items()}
    options = MatchOptions(
        str(shards.root), outputs=as_npy(tmp_path / "npy", scores), model=str(model), output=str(folder)
    )
    match(options)
    found = capsys.readouterr().out
    assert "on `pil_bilinear` = `opencv`, exactly" in found
    assert "`pil_bilinear` and `opencv` are tied: they have the same pixels on all samples of the shards." in found
    assert "No stage differs from the reference (`pil_bilinear`)." in found
    match(options)
    assert capsys.readouterr().out == found


@pytest.mark.parametrize("soft_model", [False, True])
def test_probabilities_meet_logits_by_their_softmax(
    soft_model: bool, shards: Shards, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logits = pooled_model(tmp_path / "logits.onnx")
    shares = pooled_model(tmp_path / "shares.onnx", softmax=True)
    of_device, own = (logits, shares) if soft_model else (shares, logits)
    scores = {key: found[0] for key, found in put_out(shards, "opencv_area", of_device, folder).items()}
    match(asked(shards, outputs=as_csv(tmp_path / "csv", scores), model=str(own), output=str(tmp_path)))
    found = capsys.readouterr().out
    assert re.match(r"Your device puts out what the model does on `opencv_area`, (exactly|but for the rounding)", found)
    shown, had = ("logits", "probabilities") if soft_model else ("probabilities", "logits")
    assert f"Note: the device shows {shown} and the model has {had}" in found


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda values: values * np.float32(1 + 2e-6), "but for the rounding of another runtime: every value of 8"),
        (lambda values: values.astype(np.float16), "exactly: every value of 8"),
        (lambda values: np.round(values / 0.01) * 0.01, "Nearest: `pil_nearest` (mean |Δ| 0.00"),
        (lambda values: values[:, ::-1] * 3, "Nothing is near: even the nearest,"),
    ],
)
def test_how_near_is_said(
    change: Callable[[Floats], Floats],
    verdict: str,
    shards: Shards,
    model: Path,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scores = {key: change(found[0]) for key, found in put_out(shards, "pil_nearest", model, folder).items()}
    match(asked(shards, outputs=as_npy(tmp_path / "npy", scores), model=str(model), output=str(folder)))
    found = capsys.readouterr().out
    assert verdict in found.splitlines()[0]
    assert "First stage that differs" in found or "Which stage differs first cannot be said" in found


def test_classes_before_imagenets_may_be_left_out(
    shards: Shards, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = pooled_model(tmp_path / "background.onnx", classes=13)
    with model.with_suffix(".toml").open("a") as file:
        file.write("class_offset = 1\n")
    scores = {key: found[0][:, 1:] for key, found in put_out(shards, "ffmpeg", model, folder).items()}
    match(asked(shards, outputs=as_npy(tmp_path / "npy", scores), model=str(model), output=str(folder)))
    found = capsys.readouterr().out
    assert "on `ffmpeg`, exactly" in found
    assert "Note: the device leaves out the first of the model's classes (1)" in found


def test_outputs_are_told_by_name_and_each_counts_alike(
    shards: Shards, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = two_headed_model(tmp_path / "two.onnx")
    found = put_out(shards, "nv12_ascend", model, folder)
    for key, (near, far, wide) in found.items():
        np.save(tmp_path / f"{key}.far.npy", far)
        np.save(tmp_path / f"{key}.near.npy", near)
        np.save(tmp_path / f"{key}.wide.npy", wide)
    options = asked(shards, outputs=tmp_path, model=str(model), output=str(folder))
    match(options)
    text = capsys.readouterr().out
    assert "on `nv12_ascend`, exactly" in text
    assert "|Δ| is in standard deviations of each output (far, near, wide), averaged over them." in text
    for path in tmp_path.glob("*.npy"):
        if "wide" not in path.name:
            path.unlink()
    match(options)  # one of several, told by its shape
    assert "on `nv12_ascend`, exactly" in capsys.readouterr().out


def test_two_outputs_of_one_shape_need_names(shards: Shards, folder: Path, tmp_path: Path) -> None:
    model = two_headed_model(tmp_path / "two.onnx")
    scores = {key: found[0] for key, found in put_out(shards, "ffmpeg", model, folder, 3).items()}
    options = MatchOptions(
        str(shards.root), outputs=as_npy(tmp_path / "npy", scores), model=str(model), output=str(folder)
    )
    with pytest.raises(UsageError, match=r"could be any of the model's near, far: name files KEY\.OUTPUT\.npy"):
        match(options)


def test_what_is_not_compared_is_said(
    shards: Shards, model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = {key: found[0] for key, found in put_out(shards, "fp16", model, folder, 3).items()}
    outputs = as_npy(tmp_path / "npy", {**scores, "stranger": next(iter(scores.values()))})
    match(asked(shards, outputs=outputs, model=str(model), output=str(folder)))
    found = capsys.readouterr().out
    assert "Note: 1 of what the device put out belongs to no sample of the shards (stranger.npy)." in found
    assert (
        "the model was not tried with upsample_bilinear, upsample_bilinear_corners, upsample_nearest: it has" in found
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--outputs", "x", "--mean", "1"], "--mean applies only with --dump"),
        (["--outputs", "x", "--channels", "bgr"], "--channels applies only with --dump"),
        (["--dump", "x", "--model", "m.onnx"], "--model applies only with --outputs"),
        (["--dump", "x", "--calibration", "3"], "--calibration applies only with --outputs"),
        (["--dump", "x", "--outputs", "y"], "not allowed with argument"),
        (["--outputs", "x"], "--outputs needs --model FILE"),
        ([], "one of the arguments --dump --outputs is required"),
    ],
)
def test_options_of_the_other_kind_are_refused(
    words: list[str], line: str, noised: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:

    (tmp_path / "picture_000.npy").touch()
    given = [str(tmp_path) if word in "xy" else word for word in words]
    try:
        status: object = score.main(["match", "--shards", str(noised), *given])
    except SystemExit as stopped:
        status = stopped.code
    assert status == 2
    assert line in capsys.readouterr().err
