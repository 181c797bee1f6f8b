"""Made-up devices: small models, and their outputs for the pixels of a variant, by plain ONNX Runtime."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from onnx import helper

from generators.variant import parse
from pipelines.evaluate.model.calibration import calibration
from pipelines.evaluate.model.noised import NoisedModels
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.shards import Shards
from tests.generators.models.networks import proto, run

STATED = Preprocessing((0.0,) * 3, (1.0,) * 3, 1 / 255, "rgb", "nchw")
TOML = 'mean = [0, 0, 0]\nstd = [1, 1, 1]\nscale = "1/255"\nchannels = "rgb"\nlayout = "nchw"\n'
Floats = NDArray[np.float32]


def pooled_model(path: Path, classes: int = 12, softmax: bool = False) -> Path:
    """A classifier that pooling and precision noise change, with its TOML."""
    random = np.random.default_rng(3)
    nodes = [
        helper.make_node("Conv", ["image", "first"], ["many"], strides=[2, 2]),
        helper.make_node("Relu", ["many"], ["positive"]),
        helper.make_node("MaxPool", ["positive"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["pooled", "second"], ["maps"]),
        helper.make_node("ReduceMean", ["maps"], ["scores"], axes=[2, 3], keepdims=0),
        helper.make_node("Softmax", ["scores"], ["out"], axis=1)
        if softmax
        else helper.make_node("Identity", ["scores"], ["out"]),
    ]
    weights = {
        "first": random.normal(size=(8, 3, 3, 3)).astype(np.float32),
        "second": random.normal(size=(classes, 8, 1, 1)).astype(np.float32),
    }
    path.with_suffix(".toml").write_text(TOML)
    path.write_bytes(proto(nodes, weights, ("n", 3, "h", "w")).SerializeToString())
    return path


def two_headed_model(path: Path) -> Path:
    """Two outputs of the same shape, one of another, and different scales."""
    random = np.random.default_rng(4)
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0),
        *(helper.make_node("MatMul", ["mean", f"w{name}"], [name]) for name in ("near", "far", "wide")),
    ]
    sizes = {"near": (1.0, 4), "far": (100.0, 4), "wide": (1.0, 6)}
    weights = {
        f"w{name}": (scale * random.normal(size=(3, n))).astype(np.float32) for name, (scale, n) in sizes.items()
    }
    path.with_suffix(".toml").write_text(TOML)
    path.write_bytes(proto(nodes, weights, ("n", 3, "h", "w"), list(sizes)).SerializeToString())
    return path


# Cells of strides 8, 16 and 32 in 180 pixels.
CELLS = 22**2 + 11**2 + 5**2


def detector(path: Path) -> Path:
    """YOLOX's output for 180×180 pixels: a dozen boxes, whose positions and scores depend on the image's mean."""
    random = np.random.default_rng(6)
    raw = np.full((1, CELLS, 85), -9.0, np.float32)
    raw[..., :4] = random.normal(size=(1, CELLS, 4))
    some = random.choice(CELLS, 12, replace=False)
    raw[0, some, 4] = 3.0
    raw[0, some, 5 + random.integers(0, 80, 12)] = random.uniform(-1, 3, 12)
    moved = np.zeros_like(raw)
    moved[0, some] = random.normal(size=(12, 85))
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["level"], axes=[0, 1, 2, 3], keepdims=0),
        helper.make_node("Sub", ["level", "half"], ["off"]),
        helper.make_node("Mul", ["off", "moved"], ["by"]),
        helper.make_node("Add", ["by", "raw"], ["out"]),
    ]
    constants = {"raw": raw, "moved": moved, "half": np.array(0.5, np.float32)}
    path.with_suffix(".toml").write_text(TOML + 'head = "yolox"\n')
    path.write_bytes(proto(nodes, constants, (1, 3, 180, 180)).SerializeToString())
    return path


def images(shards: Shards, pixels: str) -> Iterator[tuple[str, Floats]]:
    """A variant's images as inputs of the models, read with tarfile and OpenCV."""
    for path in sorted(Path(str(shards.root), pixels).glob("*.tar")):
        with tarfile.open(path) as tar:
            for name in tar.getnames():
                file = tar.extractfile(name)
                if name.endswith(".png") and file:
                    image = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR_RGB)
                    assert image is not None
                    yield name.removesuffix(".png"), (image / 255).astype(np.float32).transpose(2, 0, 1)[None]


def outputs_of(shards: Shards, variant: str, model: Path, folder: Path, count: int = 8) -> dict[str, list[Floats]]:
    """The outputs, by key, of a model with a variant's noise for some of its pixels; noised models are in `folder`."""
    wanted = parse(variant, shards.base)
    models = NoisedModels(model, folder / "models" / model.stem, lambda: calibration(shards, model, STATED, None))
    noised = models.noised(wanted.model)
    some = list(images(shards, wanted.pixels))[-count:]
    return {key: run(noised.path, image, noised.config) for key, image in some}
