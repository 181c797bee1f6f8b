"""Tiny ONNX models whose outputs can be computed by other means, and a way to run them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipelines.evaluate.model.cells import Cell, as_it_is
from pipelines.evaluate.model.predict import predict
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.shards import Shards

Dims = Sequence[int | str | None]


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, NDArray[np.generic]],
    image: Dims = ("n", 3, "h", "w"),
    outputs: Sequence[str] = ("out",),
    types: Sequence[np.dtype[np.generic]] | None = None,
) -> Path:
    """A model from `image` to `outputs`, which are float32 unless `types` are given."""
    types = types or [np.dtype(np.float32)] * len(outputs)
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(kind), None)
            for name, kind in zip(outputs, types, strict=True)
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def colour_model(
    path: Path, weights: NDArray[np.float32], image: Dims = ("n", 3, "h", "w"), nhwc: bool = False
) -> Path:
    """A model whose scores are the channels' means times `weights`, of shape (3, classes)."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2] if nhwc else [2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["out"]),
    ]
    return save(path, nodes, {"weights": weights}, image)


def convolved_model(path: Path, seed: int, classes: int = 1000) -> Path:
    """A model whose scores are sums of thousands of products."""
    random = np.random.default_rng(seed)
    nodes = [
        helper.make_node("Conv", ["image", "kernels"], ["many"], pads=[2, 2, 2, 2]),
        helper.make_node("Relu", ["many"], ["positive"]),
        helper.make_node("Conv", ["positive", "classes"], ["maps"]),
        helper.make_node("ReduceMean", ["maps"], ["out"], axes=[2, 3], keepdims=0),
    ]
    kernels = random.normal(size=(64, 3, 5, 5)).astype(np.float32)
    return save(
        path, nodes, {"kernels": kernels, "classes": random.normal(size=(classes, 64, 1, 1)).astype(np.float32)}
    )


def root_model(path: Path, threshold: float, infinite: bool = False) -> Path:
    """A model that outputs NaN (or infinity) if the mean of the first channel is below `threshold`."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["first"]),
        helper.make_node("Sub", ["first", "threshold"], ["above"]),
        helper.make_node("Sqrt", ["above"], ["out"]),
    ]
    if infinite:
        nodes[3:] = [
            helper.make_node(*node) for node in (("Relu", ["above"], ["positive"]), ("Log", ["positive"], ["log"]))
        ]
        nodes.append(helper.make_node("Neg", ["log"], ["out"]))
    weights = np.zeros((3, 1000), np.float32)
    weights[0] = 1
    return save(path, nodes, {"weights": weights, "threshold": np.array(threshold, np.float32)})


def constant_model(
    path: Path, outputs: Sequence[NDArray[np.generic]], image: Dims, names: Sequence[str] | None = None
) -> Path:
    """A model with the same outputs for any image, named `out0` and so on unless `names` are given."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[0, 1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
    ]
    names = names or [f"out{i}" for i in range(len(outputs))]
    constants: dict[str, NDArray[np.generic]] = {"zero": np.array(0, np.float32)}
    for name, output in zip(names, outputs, strict=True):
        kind = helper.np_dtype_to_tensor_dtype(output.dtype)
        nodes.append(helper.make_node("Cast", ["nothing"], [f"{name} nothing"], to=kind))
        nodes.append(helper.make_node("Add", [f"{name} value", f"{name} nothing"], [name]))
        constants[f"{name} value"] = output
    return save(path, nodes, constants, image, names, [output.dtype for output in outputs])


def plain_cells(shards: Shards, model: Path) -> list[Cell]:
    """A cell for every variant, with the model as it is."""
    own = as_it_is(model)
    return [Cell(variant, own) for variant in shards.variants.values()]


def predict_plain(shards: Shards, model: Path, preprocessing: Preprocessing, folder: Path) -> None:
    """Predict every variant with a model as it is."""
    assert predict(shards, plain_cells(shards, model), preprocessing, folder) == {}
