"""Models that precision noise does not apply to, and real models in both precisions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image

from generators.models import files, precision
from tests.generators.models.networks import (
    IMAGE,
    Array,
    data,
    images,
    model,
    run,
    two_layers,
)


def test_reasons(tmp_path: Path) -> None:
    constants, nodes = two_layers(23)
    done = model(nodes, constants, IMAGE)
    precision.int8(done, images(23))
    halves = model(nodes, {name: array.astype(np.float16) for name, array in constants.items()}, IMAGE)
    bare = model([helper.make_node("Relu", ["image"], ["out"])], {}, IMAGE)
    cases = [
        (done, "it is quantised already", "it is quantised already"),
        (halves, "it is half precision already", "it is half precision already"),
        (bare, None, "it has no layer with weights in single precision"),
        (model(nodes, constants, IMAGE), None, None),
    ]
    for one, of_fp16, of_int8 in cases:
        before = data(one, tmp_path) if one is not halves else b""
        assert precision.reason(one, "fp16") == of_fp16
        assert precision.reason(one, "int8") == precision.reason(one, "int8_tensor") == of_int8
        if of_int8:
            assert precision.int8(one, images(23)) == precision.quantised(one) == []
        if of_fp16:
            assert precision.fp16(one) == []
        assert one is halves or data(one, tmp_path) == before


# Real models


def real(kind: str, path: Path) -> Array:
    """A photograph as a model's input, in any geometry."""
    size = {"squeezenet_v1.0": 227, "efficientnet_lite0": 224, "yolox_nano": 416, "nanodet_320": 320}[kind]
    pixels = np.asarray(Image.open(path).convert("RGB").resize((size, size)), np.float32)
    prepare: dict[str, Callable[[Array], Array]] = {
        "squeezenet_v1.0": lambda rgb: rgb[..., ::-1] - np.array([104, 117, 123]),
        "efficientnet_lite0": lambda rgb: (rgb - 127) / 128,
        "yolox_nano": lambda rgb: (rgb / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225]),
        "nanodet_320": lambda rgb: (
            (rgb[..., ::-1] - np.array([103.53, 116.28, 123.675])) / np.array([57.375, 57.12, 58.395])
        ),
    }
    return np.ascontiguousarray(prepare[kind](pixels).transpose(2, 0, 1)[None], np.float32)


# The lowest correlation of any output. YOLOX-nano is known to tolerate this scheme badly; ONNX Runtime's does no
# better.
REAL = [("squeezenet_v1.0", 0.95), ("efficientnet_lite0", 0.98), ("yolox_nano", 0.6), ("nanodet_320", 0.9)]


@pytest.mark.parametrize(("kind", "least"), REAL)
def test_real_models(data: Path, tmp_path: Path, kind: str, least: float) -> None:
    source = data / "models" / f"{kind}.onnx"
    folder = "imagenet/tree/*/*.JPEG" if "net_" in kind and kind != "nanodet_320" else "coco/val2017/*.jpg"
    image, *pictures = [real(kind, path) for path in sorted(data.glob(folder))[:7]]
    floats = run(source, image)
    for token in ("fp16", "int8"):
        changed = files.load(source)
        assert precision.fp16(changed) if token == "fp16" else precision.int8(changed, pictures)
        written = tmp_path / f"{token}.onnx"
        files.save(changed, written)
        onnx.checker.check_model(written, full_check=True)
        outputs = run(written, image, precision.SESSION_CONFIG)
        for expected, found in zip(floats, outputs, strict=True):
            assert np.isfinite(found).all()
            together = np.corrcoef(expected.ravel(), found.ravel())[0, 1]
            assert together > (0.999 if token == "fp16" else least)
    for found, unoptimised in zip(outputs, run(written, image, optimised=False), strict=True):
        np.testing.assert_allclose(found, unoptimised, rtol=0, atol=1e-5)
