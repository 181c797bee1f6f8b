"""Which predictions are kept and reused, and which folders are refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from filelock import FileLock

from generators.boxes import noise
from pipelines.evaluate.model.cells import Cell, as_it_is
from pipelines.shards import Shards
from tests.pipelines.evaluate.model.classified import (
    RGB,
    WEIGHTS,
    called,
    refused,
    seen,
    top_five,
)
from tests.pipelines.evaluate.model.models import (
    colour_model,
    predict_plain,
)


@pytest.fixture
def shards(sample: Shards) -> Shards:
    return sample


def test_external_weights_are_part_of_the_model(shards: Shards, tmp_path: Path) -> None:
    model, out = tmp_path / "m.onnx", tmp_path / "out"
    whole = onnx.load(colour_model(model, WEIGHTS))
    onnx.save_model(whole, model, save_as_external_data=True, location="weights.bin", size_threshold=0)
    predict_plain(shards.only([]), model, RGB, out)
    weights = tmp_path / "weights.bin"
    weights.write_bytes(weights.read_bytes()[::-1])
    assert "another model: give another --output" in refused(shards.only([]), model, RGB, out)


def test_two_runs_cannot_share_a_folder(shards: Shards, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".lock"):
        message = refused(shards, colour_model(tmp_path / "m.onnx", WEIGHTS), RGB, tmp_path / "out")
    assert "another run is writing predictions to" in message


def test_predictions_are_kept_for_reuse(shards: Shards, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, out = colour_model(tmp_path / "m.onnx", WEIGHTS), tmp_path / "out"
    predict_plain(shards.only([]), model, RGB, out)
    assert seen(out) == ["pil_bilinear.parquet", "predictions.json"]
    first = (out / "pil_bilinear.parquet").stat().st_mtime_ns
    capfd.readouterr()
    predict_plain(shards, model, RGB, out)
    printed = capfd.readouterr().err
    assert "1 of 3 variants already predicted" in printed
    assert "9 of 9 images predicted" in printed  # opencv's are the reference's
    assert (out / "pil_bilinear.parquet").stat().st_mtime_ns == first
    (out / "pil_nearest.parquet").unlink()
    predict_plain(shards, model, RGB, out)
    assert "2 of 3 variants already predicted" in capfd.readouterr().err
    model.rename(tmp_path / "renamed.onnx")
    predict_plain(shards, tmp_path / "renamed.onnx", RGB, out)
    assert "images predicted" not in capfd.readouterr().err


def test_a_variant_that_was_made_again_is_predicted_again(shards: Shards, tmp_path: Path) -> None:
    model, out = colour_model(tmp_path / "m.onnx", WEIGHTS), tmp_path / "out"
    predict_plain(shards, model, RGB, out)
    right = top_five(out, "pil_nearest")
    about = json.loads((out / "predictions.json").read_text())
    about["variants"]["pil_nearest"] = about["variants"]["pil_bilinear"]
    (out / "predictions.json").write_text(json.dumps(about))
    (out / "pil_nearest.parquet").write_bytes((out / "pil_bilinear.parquet").read_bytes())
    predict_plain(shards, model, RGB, out)
    assert top_five(out, "pil_nearest") == right


def test_nothing_of_another_origin_is_overwritten(shards: Shards, tmp_path: Path) -> None:
    model, out = colour_model(tmp_path / "m.onnx", WEIGHTS), tmp_path / "out"
    predict_plain(shards, model, RGB, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    message = refused(shards, model, replace(RGB, channels="bgr", scale=1.0), out)
    assert "another preprocessing (scale, channels): give another --output" in message
    other = colour_model(tmp_path / "other.onnx", WEIGHTS[:, ::-1].copy())
    assert "another model: give another --output" in refused(shards, other, RGB, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    (out / "predictions.json").write_text("{")
    assert "is damaged" in refused(shards, model, RGB, out)
    (out / "predictions.json").unlink()
    assert "exists, but no predictions.json that says what made it" in refused(shards, model, RGB, out)
    assert "cannot be used" in refused(shards, model, RGB, out / "opencv.parquet")


def test_the_digest_of_a_cell_covers_model_pixels_and_boxes(shards: Shards, tmp_path: Path) -> None:
    plain = as_it_is(colour_model(tmp_path / "m.onnx", WEIGHTS))
    variant = shards.reference
    cells = [
        Cell(variant, called(plain, "int8")),
        Cell(variant, replace(plain, name="int8", sha256="0" * 64)),
        Cell(variant, replace(plain, name="int8", config={"session.disable_quant_qdq": "1"})),
        Cell(variant, plain, noise(1)),
        Cell(variant, plain, noise(1, True)),
        Cell(shards.variants["pil_nearest"], called(plain, "int8")),
        Cell(variant, plain),
    ]
    assert len({cell.sha256 for cell in cells}) == len(cells)
    assert cells[-1].sha256 == variant.pixels_sha256  # as in folders of earlier versions


def test_a_folder_of_an_earlier_version_is_reused(
    shards: Shards, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, out = colour_model(tmp_path / "m.onnx", WEIGHTS), tmp_path / "out"
    predict_plain(shards, model, RGB, out)
    about = json.loads((out / "predictions.json").read_text())
    assert about.pop("device") == "cpu"
    assert about.pop("failed") == {}
    assert about["model"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert about["variants"] == {v.name: v.pixels_sha256 for v in shards.variants.values()}
    (out / "predictions.json").write_text(json.dumps(about))
    capfd.readouterr()
    predict_plain(shards, model, RGB, out)
    assert "3 of 3 variants already predicted" in capfd.readouterr().err
