"""Shards through little classifiers, against Pillow and NumPy; what is kept, and what is refused."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from numpy.typing import NDArray
from onnx import helper
from PIL import Image

from pipelines.errors import UsageError
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.shards import Shards, open_shards
from tests import ROOT
from tests.conftest import Command
from tests.pipelines.evaluate.model.models import Dims, colour_model, constant_model, predict_plain, root_model, save

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
    """RGB pixels by key, as Pillow reads them."""
    found = {}
    for path in sorted((shards.root / variant).glob("*.tar")):
        with tarfile.open(path) as tar:
            for name in tar.getnames():
                if name.endswith(".png"):
                    file = tar.extractfile(name)
                    assert file is not None
                    found[name[:-4]] = np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB"), np.float64)
    return found


def means(shards: Shards, variant: str, preprocessing: Preprocessing) -> dict[str, NDArray[np.float64]]:
    """Each channel's mean as the model should see it."""
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
        predict_plain(shards, model, preprocessing, folder, 1)
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
def test_classes_are_what_numpy_finds(shards: Shards, preprocessing: Preprocessing, tmp_path: Path) -> None:
    nhwc = preprocessing.layout == "nhwc"
    image: Dims = ("n", 32, 32, 3) if nhwc else ("n", 3, "h", "w")
    model = colour_model(tmp_path / "m.onnx", WEIGHTS, image, nhwc)
    predict_plain(shards, model, preprocessing, tmp_path / "out", 1)
    for name in NAMES:
        expected = {
            key: np.argsort(-(mean @ WEIGHTS))[:5].tolist() for key, mean in means(shards, name, preprocessing).items()
        }
        assert len(expected) == 9
        assert top_five(tmp_path / "out", name) == expected
    assert top_five(tmp_path / "out", "pil_nearest") != top_five(tmp_path / "out", "pil_bilinear")


def test_a_fixed_batch_is_filled_up(shards: Shards, tmp_path: Path) -> None:
    predict_plain(shards, colour_model(tmp_path / "m.onnx", WEIGHTS), RGB, tmp_path / "one", 1)
    fixed = colour_model(tmp_path / "fixed.onnx", WEIGHTS, (4, 3, 32, 32))
    assert "give batch = 4" in refused(shards, fixed, RGB, tmp_path / "four")
    predict_plain(shards, fixed, replace(RGB, batch=4), tmp_path / "four", 1)
    assert refused(shards, fixed, replace(RGB, batch=2), tmp_path / "two")
    for name in NAMES:
        assert top_five(tmp_path / "four", name) == top_five(tmp_path / "one", name)


def test_background_and_reordered_classes_become_labels(shards: Shards, tmp_path: Path) -> None:
    predict_plain(shards, colour_model(tmp_path / "m.onnx", WEIGHTS), RGB, tmp_path / "plain", 1)
    plain = top_five(tmp_path / "plain", "pil_bilinear")
    # Backgrounds that would win everything
    background = np.concatenate([np.zeros((3, 1), np.float32), WEIGHTS - 50], axis=1)
    model = colour_model(tmp_path / "background.onnx", background)
    assert "give class_offset = 1" in refused(shards, model, RGB, tmp_path / "b")
    order = np.random.default_rng(2).permutation(1000)
    shuffled = colour_model(tmp_path / "shuffled.onnx", np.concatenate([WEIGHTS[:, order], 9 + 0 * WEIGHTS], axis=1))
    labels = (*order.tolist(), *[-1] * 1000)
    predict_plain(shards, shuffled, replace(RGB, labels=labels), tmp_path / "s", 1)
    assert top_five(tmp_path / "s", "pil_bilinear") == plain
    assert "labels has 1,999 lines and the model 2,000 classes" in refused(
        shards, shuffled, replace(RGB, labels=labels[1:]), tmp_path / "t"
    )
    shifted = colour_model(tmp_path / "shifted.onnx", np.concatenate([9 + 0 * WEIGHTS[:, :1], WEIGHTS], axis=1))
    predict_plain(shards, shifted, replace(RGB, class_offset=1), tmp_path / "o", 1)
    assert top_five(tmp_path / "o", "pil_bilinear") == plain


def seen(folder: Path) -> list[str]:
    """What a user sees in a folder."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_weights_in_a_file_of_their_own_are_part_of_the_model(shards: Shards, tmp_path: Path) -> None:
    model, out = tmp_path / "m.onnx", tmp_path / "out"
    whole = onnx.load(colour_model(model, WEIGHTS))
    onnx.save_model(whole, model, save_as_external_data=True, location="weights.bin", size_threshold=0)
    predict_plain(shards.only([]), model, RGB, out, 1)
    weights = tmp_path / "weights.bin"
    weights.write_bytes(weights.read_bytes()[::-1])
    assert "another model: give another --output" in refused(shards.only([]), model, RGB, out)


def test_two_runs_do_not_share_a_folder(shards: Shards, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".lock"):
        message = refused(shards, colour_model(tmp_path / "m.onnx", WEIGHTS), RGB, tmp_path / "out")
    assert "another run writes predictions to" in message


def test_same_pixels_are_run_once(shards: Shards, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    predict_plain(shards, colour_model(tmp_path / "m.onnx", WEIGHTS), RGB, tmp_path / "out", 1)
    said = capfd.readouterr().err
    assert "opencv has the pixels of pil_bilinear, and is given its predictions" in said
    assert "18 of 18 images predicted" in said
    assert "onnxruntime" not in said
    one, other = (tmp_path / "out" / f"{name}.parquet" for name in ("pil_bilinear", "opencv"))
    assert one.read_bytes() == other.read_bytes()


def test_predictions_are_kept_for_reuse(shards: Shards, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, out = colour_model(tmp_path / "m.onnx", WEIGHTS), tmp_path / "out"
    predict_plain(shards.only([]), model, RGB, out, 1)
    assert seen(out) == ["pil_bilinear.parquet", "predictions.json"]
    first = (out / "pil_bilinear.parquet").stat().st_mtime_ns
    capfd.readouterr()
    predict_plain(shards, model, RGB, out, 1)
    said = capfd.readouterr().err
    assert "1 of 3 variants are predicted already" in said
    assert "9 of 9 images predicted" in said  # opencv's are the reference's
    assert (out / "pil_bilinear.parquet").stat().st_mtime_ns == first
    (out / "pil_nearest.parquet").unlink()
    predict_plain(shards, model, RGB, out, 1)
    assert "2 of 3 variants are predicted already" in capfd.readouterr().err
    model.rename(tmp_path / "renamed.onnx")
    predict_plain(shards, tmp_path / "renamed.onnx", RGB, out, 1)
    assert "images predicted" not in capfd.readouterr().err


def test_a_variant_that_was_made_anew_is_run_again(shards: Shards, tmp_path: Path) -> None:
    model, out = colour_model(tmp_path / "m.onnx", WEIGHTS), tmp_path / "out"
    predict_plain(shards, model, RGB, out, 1)
    right = top_five(out, "pil_nearest")
    about = json.loads((out / "predictions.json").read_text())
    about["variants"]["pil_nearest"] = about["variants"]["pil_bilinear"]
    (out / "predictions.json").write_text(json.dumps(about))
    (out / "pil_nearest.parquet").write_bytes((out / "pil_bilinear.parquet").read_bytes())
    predict_plain(shards, model, RGB, out, 1)
    assert top_five(out, "pil_nearest") == right


def test_nothing_of_another_origin_is_overwritten(shards: Shards, tmp_path: Path) -> None:
    model, out = colour_model(tmp_path / "m.onnx", WEIGHTS), tmp_path / "out"
    predict_plain(shards, model, RGB, out, 1)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    message = refused(shards, model, replace(RGB, channels="bgr", scale=1.0), out)
    assert "another preprocessing (scale, channels): give another --output" in message
    other = colour_model(tmp_path / "other.onnx", WEIGHTS[:, ::-1].copy())
    assert "another model: give another --output" in refused(shards, other, RGB, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    (out / "predictions.json").write_text("{")
    assert "is damaged" in refused(shards, model, RGB, out)
    (out / "predictions.json").unlink()
    assert "no predictions.json that says what made it" in refused(shards, model, RGB, out)
    assert "cannot be used" in refused(shards, model, RGB, out / "opencv.parquet")


def test_nan_is_counted_and_leaves_no_predictions(shards: Shards, tmp_path: Path) -> None:
    first = {key: float(mean[0]) for key, mean in means(shards, "pil_bilinear", RGB).items()}
    ordered = sorted(first.values())
    threshold = (ordered[3] + ordered[4]) / 2
    broken = [key for key, mean in first.items() if mean < threshold]
    assert len(broken) == 4
    for batch in (1, 4):
        out = tmp_path / f"out{batch}"
        message = refused(shards, root_model(tmp_path / "m.onnx", threshold), replace(RGB, batch=batch), out)
        assert f"NaN for 4 of 9 images of pil_bilinear (first: {broken[0]})" in message
        assert seen(out) == ["predictions.json"]


def test_models_that_do_not_suit(shards: Shards, tmp_path: Path) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("no model")
    assert "is no ONNX model" in refused(shards, text, RGB, tmp_path / "a")
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
    assert "has 10 classes, less a class_offset of 0, where ImageNet has 1,000: give labels" in refused(
        shards, few, RGB, tmp_path / "h"
    )
    assert "a top-5 needs five" in refused(shards, few, replace(RGB, labels=(1, 2, 3, *[-1] * 7)), tmp_path / "i")
    boxes = constant_model(tmp_path / "boxes.onnx", [np.zeros((1, 21, 85), np.float32)], (1, 3, 32, 32))
    assert "(1x21x85) are not one score for each class; a detector needs COCO shards" in refused(
        shards, boxes, RGB, tmp_path / "j"
    )
    assert 'head = "yolox" is for COCO shards' in refused(shards, boxes, replace(RGB, head="yolox"), tmp_path / "k")


def test_without_onnx_runtime(shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    model = colour_model(tmp_path / "m.onnx", WEIGHTS)
    assert "pip install onnxruntime" in refused(shards, model, RGB, tmp_path / "out")


def test_onnx_runtime_is_imported_by_predictions_alone() -> None:
    check = "import sys, pipelines.evaluate.model.predict; sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0
