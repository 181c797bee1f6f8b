"""Predictions of small classifiers on shards, against Pillow and NumPy, and the models that are refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from pipelines.errors import RunError
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.shards import Shards, open_shards
from tests.pipelines.evaluate.model.classified import (
    NAMES,
    RGB,
    WEIGHTS,
    below,
    means,
    refused,
    seen,
    top_five,
)
from tests.pipelines.evaluate.model.models import (
    Dims,
    colour_model,
    constant_model,
    predict_plain,
    root_model,
    save,
)


@pytest.fixture
def shards(sample: Shards) -> Shards:
    return sample


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


def test_identical_pixels_are_run_once(shards: Shards, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    predict_plain(shards, colour_model(tmp_path / "m.onnx", WEIGHTS), RGB, tmp_path / "out")
    printed = capfd.readouterr().err
    assert "opencv has the same pixels as pil_bilinear: its predictions are reused" in printed
    assert "18 of 18 images predicted" in printed
    assert "onnxruntime" not in printed
    one, other = (tmp_path / "out" / f"{name}.parquet" for name in ("pil_bilinear", "opencv"))
    assert one.read_bytes() == other.read_bytes()


def test_images_with_nan_are_counted_and_no_predictions_kept(shards: Shards, tmp_path: Path) -> None:
    threshold, broken = below(shards, 4)
    for batch in (1, 4):
        out = tmp_path / f"out{batch}"
        message = refused(shards, root_model(tmp_path / "m.onnx", threshold), replace(RGB, batch=batch), out)
        assert f"NaN for 4 of 9 images of pil_bilinear (first: {broken[0]})" in message
        assert seen(out) == ["predictions.json"]


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
