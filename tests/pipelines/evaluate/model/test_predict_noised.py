"""Predictions of several models and variants at once, piece by piece, and failures of noised models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from generators.boxes import noise
from pipelines.errors import RunError, UsageError
from pipelines.evaluate.model.cells import Cell, as_it_is
from pipelines.evaluate.model.pieces import Job, Piece
from pipelines.evaluate.model.predict import predict
from pipelines.evaluate.model.workers import HERE, Done
from pipelines.shards import FinishedVariant, Shards, Stored
from tests.pipelines.evaluate.model.classified import (
    NAMES,
    RGB,
    WEIGHTS,
    below,
    called,
    means,
    noised,
    seen,
    top_five,
)
from tests.pipelines.evaluate.model.models import (
    colour_model,
    convolved_model,
    root_model,
)


@pytest.fixture
def shards(sample: Shards) -> Shards:
    return sample


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that gets the names of the variants that are read from now on."""
    read: list[str] = []
    of_shard = Shards.of_shard

    def counting(shards: Shards, variant: FinishedVariant, number: int, places: range) -> Iterator[Stored]:
        if number == 0:
            read.append(variant.name)
        return of_shard(shards, variant, number, places)

    monkeypatch.setattr(Shards, "of_shard", counting)
    return read


def test_each_model_gives_its_own_and_pixels_are_read_once(
    shards: Shards, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {name: np.roll(WEIGHTS, 7 * number, axis=1) for number, name in enumerate(("", "fp16", "int8"))}
    paths = {name: colour_model(tmp_path / f"{name}m.onnx", own) for name, own in weights.items()}
    models = {name: called(as_it_is(path), name) for name, path in paths.items()}
    models["int8"] = replace(models["int8"], config={"session.disable_quant_qdq": "1"})
    several, cells = noised(shards, models)
    read = counted(monkeypatch)
    assert predict(several, cells, RGB, tmp_path / "out") == {}
    # opencv's pixels are the reference's.
    assert read == ["pil_bilinear", "pil_nearest"]
    printed = capfd.readouterr().err
    assert "54 of 54 images predicted" in printed
    assert "opencv+int8 has the same pixels and model as int8" in printed
    for cell in cells:
        own = means(shards, cell.variant.folder.name, RGB)
        expected = {key: np.argsort(-(mean @ weights[cell.model.name]))[:5].tolist() for key, mean in own.items()}
        assert top_five(tmp_path / "out", cell.name) == expected
    assert predict(several, cells, RGB, tmp_path / "out") == {}
    assert "9 of 9 variants already predicted" in capfd.readouterr().err


def test_only_as_many_models_are_loaded_together_as_fit(
    shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {
        name: called(as_it_is(colour_model(tmp_path / f"{name}m.onnx", WEIGHTS + len(name))), name)
        for name in ("", "a", "bb", "ccc")
    }
    several, cells = noised(shards.only([]), models)
    read = counted(monkeypatch)
    monkeypatch.setattr("pipelines.evaluate.model.predict._LOADED", 2 * (tmp_path / "m.onnx").stat().st_size + 9)
    predict(several, cells, RGB, tmp_path / "two")
    assert read == ["pil_bilinear", "bb"]
    monkeypatch.setattr("pipelines.evaluate.model.predict._LOADED", 1)
    predict(several, cells, RGB, tmp_path / "one")
    assert read[2:] == ["pil_bilinear", "a", "bb", "ccc"]


@pytest.mark.parametrize("infinite", [False, True])
def test_a_noised_model_with_infinite_outputs_gives_a_reason(
    shards: Shards, tmp_path: Path, capfd: pytest.CaptureFixture[str], infinite: bool
) -> None:
    threshold, broken = below(shards, 4)
    bad = as_it_is(root_model(tmp_path / "bad.onnx", threshold, infinite))
    plain = as_it_is(colour_model(tmp_path / "m.onnx", WEIGHTS))
    models = {"": plain, "ceil_mode+fp16": called(bad, "ceil_mode+fp16"), "int8": called(bad, "int8")}
    several, cells = noised(shards.only([]), models)
    what = "infinity" if infinite else "NaN"
    found = predict(several, cells, RGB, tmp_path / "out")
    share = f"gives {what} for 4 of 9 images of pil_bilinear (first: {broken[0]}):"
    assert found["ceil_mode+fp16"] == f"ceil_mode+fp16 {share} it overflows in half precision"
    assert set(found) == {"ceil_mode+fp16", "int8"}
    assert seen(tmp_path / "out") == ["pil_bilinear.parquet", "predictions.json"]
    capfd.readouterr()
    assert predict(several, cells, RGB, tmp_path / "out") == found
    assert "images predicted" not in capfd.readouterr().err
    models["int8"] = called(plain, "int8")  # made again, and sound
    several, cells = noised(shards.only([]), models)
    assert set(predict(several, cells, RGB, tmp_path / "out")) == {"ceil_mode+fp16"}
    assert top_five(tmp_path / "out", "int8") == top_five(tmp_path / "out", "pil_bilinear")
    models["int8"] = called(bad, "int8")  # the sound model's predictions must not be left
    several, cells = noised(shards.only([]), models)
    assert set(predict(several, cells, RGB, tmp_path / "out")) == set(found)
    assert not (tmp_path / "out" / "int8.parquet").exists()


def test_a_noised_model_that_cannot_run_gives_a_reason(shards: Shards, tmp_path: Path) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("no model")
    wide = colour_model(tmp_path / "wide.onnx", WEIGHTS, (1, 3, 99, 99))
    few = colour_model(tmp_path / "few.onnx", WEIGHTS[:, :10])
    paths = {"": colour_model(tmp_path / "m.onnx", WEIGHTS), "fp16": text, "ceil_mode": wide, "int8": few}
    several, cells = noised(shards, {name: called(as_it_is(path), name) for name, path in paths.items()})
    found = predict(several, cells, RGB, tmp_path / "out")
    assert list(found) == [cell.name for cell in cells if cell.model.name]
    assert found["fp16"].startswith("fp16: ")
    assert "is not an ONNX model" in found["opencv+fp16"]
    assert found["ceil_mode"].startswith("ceil_mode: wide.onnx failed on an input of 1x3x32x32")
    assert "not one score for each of 1,000 classes" in found["pil_nearest+int8"]
    assert seen(tmp_path / "out") == [*sorted(f"{name}.parquet" for name in NAMES), "predictions.json"]
    assert json.loads((tmp_path / "out" / "predictions.json").read_text())["failed"] == {}  # another machine may run it


def test_nan_of_the_model_as_it_is_is_refused_but_noised_predictions_are_kept(shards: Shards, tmp_path: Path) -> None:
    threshold, _ = below(shards, 4)
    models = {
        "": as_it_is(root_model(tmp_path / "bad.onnx", threshold)),
        "int8": called(as_it_is(colour_model(tmp_path / "m.onnx", WEIGHTS)), "int8"),
    }
    several, cells = noised(shards.only([]), models)
    with pytest.raises(UsageError, match="the model gives NaN for 4 of 9 images of pil_bilinear"):
        predict(several, cells, RGB, tmp_path / "out")
    assert seen(tmp_path / "out") == ["int8.parquet", "predictions.json"]


def test_box_noise_applies_only_to_detectors(shards: Shards, tmp_path: Path) -> None:
    model = as_it_is(colour_model(tmp_path / "m.onnx", WEIGHTS))
    boxes = replace(shards.reference, name="box_offset")
    several = replace(shards, variants={**shards.variants, "box_offset": boxes})
    cells = [Cell(shards.reference, model), Cell(boxes, model, noise(1))]
    for _ in range(2):  # the second time from the record
        failed = predict(several, cells, RGB, tmp_path / "out")
        assert failed == {"box_offset": "it has no boxes to decode"}
    assert seen(tmp_path / "out") == ["pil_bilinear.parquet", "predictions.json"]


class Backwards:
    """Workers that do the last piece first, and are lost after `most` pieces."""

    number = 1

    def __init__(self, most: int = 99) -> None:
        self.most = most
        self.done: list[Piece] = []

    def versions(self, model: Path, device: str) -> dict[str, str]:
        return HERE.versions(model, device)

    def work(self, job: Job, pieces: Iterator[Piece], count: int) -> Iterator[Done | int]:
        listed = list(pieces)[::-1]
        assert count == len(listed)
        yield 0
        for done in HERE.work(job, iter(listed[: self.most]), count):
            self.done += [done.piece] if isinstance(done, Done) else []
            yield done
        if self.most < count:
            raise RunError("the machine is lost")


@pytest.mark.parametrize("batch", [1, 2])
def test_predictions_do_not_depend_on_the_pieces(
    shards: Shards, tmp_path: Path, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {
        name: called(as_it_is(convolved_model(tmp_path / f"{name}m.onnx", len(name))), name) for name in ("", "fp16")
    }
    several, cells = noised(shards, models)
    found = []
    for images in (1, 3, 128):
        monkeypatch.setattr("pipelines.evaluate.model.pieces._IMAGES", images)
        for workers in (HERE, Backwards()):
            out = tmp_path / f"{images}{type(workers).__name__}"
            predict(several, cells, replace(RGB, batch=batch), out, workers=workers)
            found.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert len(found[0]) == 6 + 2  # and the lock
    assert all(other == found[0] for other in found)


def test_pieces_predicted_before_a_loss_are_not_predicted_again(
    shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.evaluate.model.pieces._IMAGES", 2)
    models = {"": as_it_is(colour_model(tmp_path / "m.onnx", WEIGHTS))}
    models["int8"] = called(as_it_is(colour_model(tmp_path / "n.onnx", -WEIGHTS)), "int8")
    several, cells = noised(shards, models)
    lost, after, again = Backwards(7), Backwards(), Backwards()
    with pytest.raises(RunError, match="the machine is lost"):
        predict(several, cells, RGB, tmp_path / "out", workers=lost)
    predict(several, cells, RGB, tmp_path / "out", workers=after)
    assert len(lost.done) == 7
    assert not set(lost.done) & set(after.done)
    assert sum(piece.images for piece in lost.done + after.done) == 9 * 2  # opencv's pixels are the reference's
    predict(several, cells, RGB, tmp_path / "out", workers=again)
    assert not again.done
    predict(several, cells, RGB, tmp_path / "whole")
    for cell in cells:
        assert top_five(tmp_path / "out", cell.name) == top_five(tmp_path / "whole", cell.name)
    assert seen(tmp_path / "out") == seen(tmp_path / "whole")
