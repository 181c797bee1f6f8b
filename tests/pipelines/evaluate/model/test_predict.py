"""Predictions of small classifiers on shards, against Pillow and NumPy, and the models that are refused."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from PIL import Image

from generators.boxes import noise
from pipelines.errors import RunError, UsageError
from pipelines.evaluate.model.cells import Cell, Noised, as_it_is, plain_cells
from pipelines.evaluate.model.pieces import Job, Piece
from pipelines.evaluate.model.predict import predict
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.model.workers import HERE, Done
from pipelines.evaluate.shards import ScoredVariant, Shards, Stored, open_shards
from tests import ROOT
from tests.conftest import Command
from tests.pipelines.evaluate.model.models import (
    Dims,
    colour_model,
    constant_model,
    convolved_model,
    predict_plain,
    root_model,
    save,
)

RGB = Preprocessing((0.4, 0.5, 0.3), (0.2, 0.3, 0.25), 1 / 255, "rgb", "nchw")
WEIGHTS = np.random.default_rng(1).normal(size=(3, 1000)).astype(np.float32)
NAMES = ["pil_bilinear", "opencv", "pil_nearest"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, generate: Command) -> Shards:
    out = tmp_path_factory.mktemp("shards")
    words = ["--variant", ",".join(NAMES), "--size", "32", "--samples-per-shard", "4", "--output", str(out)]
    generate(*words)
    return open_shards(out / "sample")


def images(shards: Shards, variant: str) -> dict[str, NDArray[np.float64]]:
    """RGB pixels by key, read by Pillow."""
    found = {}
    for path in sorted(Path(str(shards.root), variant).glob("*.tar")):
        with tarfile.open(path) as tar:
            for name in tar.getnames():
                if name.endswith(".png"):
                    file = tar.extractfile(name)
                    assert file is not None
                    found[name[:-4]] = np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB"), np.float64)
    return found


def means(shards: Shards, variant: str, preprocessing: Preprocessing) -> dict[str, NDArray[np.float64]]:
    """The means of each image's normalised channels, in the model's order."""
    order = [0, 1, 2] if preprocessing.channels == "rgb" else [2, 1, 0]
    return {
        key: (pixels.mean(axis=(0, 1))[order] * preprocessing.scale - preprocessing.mean) / preprocessing.std
        for key, pixels in images(shards, variant).items()
    }


def top_five(folder: Path, variant: str) -> dict[str, list[int]]:
    table = pq.read_table(folder / f"{variant}.parquet")
    assert table.schema.field("top5").type == pa.list_(pa.int64())
    return dict(zip(table["key"].to_pylist(), table["top5"].to_pylist(), strict=True))


def refused(shards: Shards, model: Path, preprocessing: Preprocessing, folder: Path) -> str:
    with pytest.raises(UsageError) as caught:
        predict_plain(shards, model, preprocessing, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "preprocessing",
    [
        RGB,
        replace(RGB, channels="bgr"),
        replace(RGB, layout="nhwc", batch=4),
        replace(RGB, scale=1.0, mean=(104.0, 117.0, 123.0), std=(1.0, 1.0, 1.0), size=32),
    ],
)
def test_classes_are_numpy_s(shards: Shards, preprocessing: Preprocessing, tmp_path: Path) -> None:
    nhwc = preprocessing.layout == "nhwc"
    image: Dims = ("n", 32, 32, 3) if nhwc else ("n", 3, "h", "w")
    model = colour_model(tmp_path / "m.onnx", WEIGHTS, image, nhwc)
    predict_plain(shards, model, preprocessing, tmp_path / "out")
    for name in NAMES:
        expected = {
            key: np.argsort(-(mean @ WEIGHTS))[:5].tolist() for key, mean in means(shards, name, preprocessing).items()
        }
        assert len(expected) == 9
        assert top_five(tmp_path / "out", name) == expected
    assert top_five(tmp_path / "out", "pil_nearest") != top_five(tmp_path / "out", "pil_bilinear")


def test_a_fixed_batch_is_padded(shards: Shards, tmp_path: Path) -> None:
    predict_plain(shards, colour_model(tmp_path / "m.onnx", WEIGHTS), RGB, tmp_path / "one")
    fixed = colour_model(tmp_path / "fixed.onnx", WEIGHTS, (4, 3, 32, 32))
    assert "give batch = 4" in refused(shards, fixed, RGB, tmp_path / "four")
    predict_plain(shards, fixed, replace(RGB, batch=4), tmp_path / "four")
    assert refused(shards, fixed, replace(RGB, batch=2), tmp_path / "two")
    for name in NAMES:
        assert top_five(tmp_path / "four", name) == top_five(tmp_path / "one", name)


def test_background_and_reordered_classes_become_labels(shards: Shards, tmp_path: Path) -> None:
    predict_plain(shards, colour_model(tmp_path / "m.onnx", WEIGHTS), RGB, tmp_path / "plain")
    plain = top_five(tmp_path / "plain", "pil_bilinear")
    # A background that would win everywhere
    background = np.concatenate([np.zeros((3, 1), np.float32), WEIGHTS - 50], axis=1)
    model = colour_model(tmp_path / "background.onnx", background)
    for number, offset in enumerate((0, 1)):
        predict_plain(shards, model, replace(RGB, class_offset=offset), tmp_path / f"b{number}")
        assert top_five(tmp_path / f"b{number}", "pil_bilinear") == plain
    assert "give class_offset = 1" in refused(shards, model, replace(RGB, class_offset=2), tmp_path / "b")
    order = np.random.default_rng(2).permutation(1000)
    shuffled = colour_model(tmp_path / "shuffled.onnx", np.concatenate([WEIGHTS[:, order], 9 + 0 * WEIGHTS], axis=1))
    labels = (*order.tolist(), *[-1] * 1000)
    predict_plain(shards, shuffled, replace(RGB, labels=labels), tmp_path / "s")
    assert top_five(tmp_path / "s", "pil_bilinear") == plain
    assert "labels has 1,999 lines, but the model has 2,000 classes" in refused(
        shards, shuffled, replace(RGB, labels=labels[1:]), tmp_path / "t"
    )
    shifted = colour_model(tmp_path / "shifted.onnx", np.concatenate([9 + 0 * WEIGHTS[:, :1], WEIGHTS], axis=1))
    predict_plain(shards, shifted, replace(RGB, class_offset=1), tmp_path / "o")
    assert top_five(tmp_path / "o", "pil_bilinear") == plain


def seen(folder: Path) -> list[str]:
    """The names of a folder's visible files."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


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


def test_identical_pixels_are_run_once(shards: Shards, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    predict_plain(shards, colour_model(tmp_path / "m.onnx", WEIGHTS), RGB, tmp_path / "out")
    printed = capfd.readouterr().err
    assert "opencv: its pixels are those of pil_bilinear, whose predictions are reused" in printed
    assert "18 of 18 images predicted" in printed
    assert "onnxruntime" not in printed
    one, other = (tmp_path / "out" / f"{name}.parquet" for name in ("pil_bilinear", "opencv"))
    assert one.read_bytes() == other.read_bytes()


def test_predictions_are_kept_for_reuse(shards: Shards, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, out = colour_model(tmp_path / "m.onnx", WEIGHTS), tmp_path / "out"
    predict_plain(shards.only([]), model, RGB, out)
    assert seen(out) == ["pil_bilinear.parquet", "predictions.json"]
    first = (out / "pil_bilinear.parquet").stat().st_mtime_ns
    capfd.readouterr()
    predict_plain(shards, model, RGB, out)
    printed = capfd.readouterr().err
    assert "1 of 3 variants already have predictions" in printed
    assert "9 of 9 images predicted" in printed  # opencv's are the reference's
    assert (out / "pil_bilinear.parquet").stat().st_mtime_ns == first
    (out / "pil_nearest.parquet").unlink()
    predict_plain(shards, model, RGB, out)
    assert "2 of 3 variants already have predictions" in capfd.readouterr().err
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


def test_images_with_nan_are_counted_and_no_predictions_kept(shards: Shards, tmp_path: Path) -> None:
    threshold, broken = below(shards, 4)
    for batch in (1, 4):
        out = tmp_path / f"out{batch}"
        message = refused(shards, root_model(tmp_path / "m.onnx", threshold), replace(RGB, batch=batch), out)
        assert f"NaN for 4 of 9 images of pil_bilinear (first: {broken[0]})" in message
        assert seen(out) == ["predictions.json"]


def noised(shards: Shards, models: dict[str, Noised]) -> tuple[Shards, list[Cell]]:
    """Shards with a variant for each model and kind of pixels, and a cell for each."""
    variants, cells = {}, []
    for model in models.values():
        for variant in shards.variants.values():
            name = variant.name
            if model.name:
                name = model.name if variant is shards.reference else f"{name}+{model.name}"
            variants[name] = replace(variant, name=name)
            cells.append(Cell(variants[name], model))
    return replace(shards, variants=variants, reference=variants[shards.reference.name]), cells


def called(model: Noised, name: str) -> Noised:
    """A model with the name of a noised one."""
    return replace(model, name=name)


def below(shards: Shards, count: int) -> tuple[float, list[str]]:
    """A threshold that the mean of the first channel is below in `count` images of the reference, and their keys."""
    first = {key: float(mean[0]) for key, mean in means(shards, "pil_bilinear", RGB).items()}
    ordered = sorted(first.values())
    threshold = (ordered[count - 1] + ordered[count]) / 2
    return threshold, [key for key, mean in first.items() if mean < threshold]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that gets the names of the variants that are read from now on."""
    read: list[str] = []
    of_shard = Shards.of_shard

    def counting(shards: Shards, variant: ScoredVariant, number: int, places: range) -> Iterator[Stored]:
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
    assert "opencv+int8: its pixels and model are those of int8" in printed
    for cell in cells:
        own = means(shards, cell.variant.folder.name, RGB)
        expected = {key: np.argsort(-(mean @ weights[cell.model.name]))[:5].tolist() for key, mean in own.items()}
        assert top_five(tmp_path / "out", cell.name) == expected
    assert predict(several, cells, RGB, tmp_path / "out") == {}
    assert "9 of 9 variants already have predictions" in capfd.readouterr().err


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
    assert "3 of 3 variants already have predictions" in capfd.readouterr().err


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


def test_a_class_may_be_ruled_out(shards: Shards, tmp_path: Path) -> None:
    scores = np.where(np.arange(1000) < 990, -np.inf, np.arange(1000)).astype(np.float32)
    node = helper.make_node("Add", ["first", "scores"], ["out"])
    whole = onnx.load(colour_model(tmp_path / "m.onnx", WEIGHTS))
    whole.graph.node[-1].output[0] = "first"
    whole.graph.node.append(node)
    whole.graph.initializer.append(numpy_helper.from_array(scores * 100, "scores"))
    onnx.save(whole, tmp_path / "m.onnx")
    predict_plain(shards.only([]), tmp_path / "m.onnx", RGB, tmp_path / "out")
    assert set(map(tuple, top_five(tmp_path / "out", "pil_bilinear").values())) == {(999, 998, 997, 996, 995)}


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


def test_a_damaged_image_is_refused_in_one_line(shards: Shards, tmp_path: Path) -> None:
    folder = tmp_path / "shards" / "pil_bilinear"
    shutil.copytree(str(shards.reference.folder), folder)
    tar = sorted(folder.glob("*.tar"))[1]
    content = bytearray(tar.read_bytes())
    content[content.index(b"IDAT") + 60] ^= 1
    tar.write_bytes(content)
    damaged = open_shards(folder.parent)
    with pytest.raises(RunError, match=r"the image of .* cannot be read .*: run verify.py"):
        predict_plain(damaged, colour_model(tmp_path / "m.onnx", WEIGHTS), RGB, tmp_path / "out")
    assert seen(tmp_path / "out") == ["predictions.json"]


class Cuda:
    """ONNX Runtime's GPU build, imitated with the CPU's."""

    def __init__(self, finds_gpu: bool) -> None:
        self.given: list[Any] = []
        self.finds_gpu = finds_gpu
        self.looked = False

    def __getattr__(self, name: str) -> Any:
        return getattr(onnxruntime, name)

    def get_available_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def preload_dlls(self) -> None:
        self.looked = True
        print("Failed to load libcublasLt.so.13")

    def InferenceSession(self, path: str, options: object, providers: list[Any]) -> Any:  # noqa: N802 - ONNX Runtime's name
        assert self.looked or providers == ["CPUExecutionProvider"], "CUDA in NVIDIA's packages is not found"
        self.given = providers
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        if self.finds_gpu:
            session.get_providers = self.get_available_providers
        return session


def test_a_gpu_is_used_with_the_options_of_reproducible_figures(
    shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = plain_cells(shards, colour_model(tmp_path / "m.onnx", WEIGHTS))

    def on_gpu(folder: str) -> None:
        predict(shards, cells, RGB, tmp_path / folder, device="cuda")

    with pytest.raises(
        UsageError, match=r"--device cuda needs ONNX Runtime's GPU build: .*pip install 'onnxruntime-gpu\[cuda,cudnn\]'"
    ):
        on_gpu("none")
    monkeypatch.setitem(sys.modules, "onnxruntime", Cuda(finds_gpu=False))
    with pytest.raises(UsageError, match="finds no GPU that it can use here"):
        on_gpu("driver")
    cuda = Cuda(finds_gpu=True)
    monkeypatch.setitem(sys.modules, "onnxruntime", cuda)
    on_gpu("gpu")
    (name, options), other = cuda.given
    assert (name, options["use_tf32"], other) == ("CUDAExecutionProvider", "0", "CPUExecutionProvider")
    assert "libcublasLt" not in capsys.readouterr().out
    assert json.loads((tmp_path / "gpu" / "predictions.json").read_text())["device"] == "cuda"
    with pytest.raises(UsageError, match="has predictions of another device"):
        predict(shards, cells, RGB, tmp_path / "gpu")


def test_sessions_share_the_memory_of_their_runs(tmp_path: Path) -> None:
    """Otherwise each takes 64 MiB."""
    check = """
import sys, numpy as np, resource
from pathlib import Path
from pipelines.evaluate.model.cells import as_it_is
from pipelines.evaluate.model.runtimes import open_session
sessions = [open_session(as_it_is(Path(sys.argv[1])), "nchw", "cpu") for _ in range(8)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for session in sessions:
    session.run(np.zeros((1, 3, 512, 512), np.float32))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    model = convolved_model(tmp_path / "m.onnx", 0, classes=4)
    words = [sys.executable, "-c", check, str(model)]
    done = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True)
    assert int(done.stdout) < 300
    assert done.stderr == ""


def test_unsuitable_models_are_refused(shards: Shards, tmp_path: Path) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("no model")
    assert "is not an ONNX model" in refused(shards, text, RGB, tmp_path / "a")
    wide = colour_model(tmp_path / "wide.onnx", WEIGHTS, ("n", 3, 299, 299))
    message = refused(shards, wide, RGB, tmp_path / "b")
    assert "takes 299x299 pixels and the shards have 32x32" in message
    assert "--size 299" in message
    assert "size = 32 is not what the model takes" in refused(shards, wide, replace(RGB, size=32), tmp_path / "c")
    nhwc = colour_model(tmp_path / "nhwc.onnx", WEIGHTS, (1, 32, 32, 3), nhwc=True)
    assert 'give layout = "nhwc"' in refused(shards, nhwc, RGB, tmp_path / "d")
    gray = save(tmp_path / "g.onnx", [helper.make_node("Abs", ["image"], ["out"])], {}, (1, 1, 32, 32))
    assert "must take three channels" in refused(shards, gray, RGB, tmp_path / "e")
    flat = save(tmp_path / "f.onnx", [helper.make_node("Abs", ["image"], ["out"])], {}, (1, 1000))
    assert "does not take one batch of images" in refused(shards, flat, RGB, tmp_path / "f")
    few = colour_model(tmp_path / "few.onnx", WEIGHTS[:, :10])
    assert "has 10 classes less a class_offset of 0, but ImageNet has 1,000: give labels" in refused(
        shards, few, RGB, tmp_path / "h"
    )
    assert "a top-5 needs five" in refused(shards, few, replace(RGB, labels=(1, 2, 3, *[-1] * 7)), tmp_path / "i")
    boxes = constant_model(tmp_path / "boxes.onnx", [np.zeros((1, 21, 85), np.float32)], (1, 3, 32, 32))
    assert "(out0 float32 1x21x85) are not one score for each class: a detector needs COCO shards" in refused(
        shards, boxes, RGB, tmp_path / "j"
    )
    assert 'head = "yolox" is for COCO shards' in refused(shards, boxes, replace(RGB, head="yolox"), tmp_path / "k")


def test_a_missing_onnx_runtime_is_named(shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    model = colour_model(tmp_path / "m.onnx", WEIGHTS)
    assert "pip install onnxruntime" in refused(shards, model, RGB, tmp_path / "out")


def test_onnx_runtime_is_imported_only_when_predicting() -> None:
    check = "import sys, pipelines.evaluate.model.predict; sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


@pytest.mark.gpu
def test_a_gpu_gives_the_same_classes_as_the_cpu(shards: Shards, tmp_path: Path) -> None:
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("ONNX Runtime's GPU build is not installed: pip install onnxruntime-gpu")
    cells = plain_cells(shards, colour_model(tmp_path / "m.onnx", WEIGHTS))
    for device in ("cpu", "cuda"):
        assert not predict(shards, cells, RGB, tmp_path / device, device=device)
    for name in NAMES:
        assert top_five(tmp_path / "cuda", name) == top_five(tmp_path / "cpu", name)
