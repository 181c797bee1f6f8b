"""A model's size in parameters and bytes, from known weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipelines.evaluate.model.facts import model_facts


@pytest.mark.parametrize("external", [False, True])
def test_weights_are_counted_and_indices_are_not(external: bool, tmp_path: Path) -> None:
    weights = numpy_helper.from_array(np.ones((3, 40), np.float32), "weights")
    scale = numpy_helper.from_array(np.ones(7, np.int8), "small")
    shape = numpy_helper.from_array(np.array([1, 3], np.int64), "shape")
    nodes = [
        helper.make_node("Constant", [], ["bias"], value=numpy_helper.from_array(np.ones(40, np.float32))),
        helper.make_node("Reshape", ["x", "shape"], ["row"]),
        helper.make_node("Cast", ["small"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Gemm", ["row", "weights", "bias"], ["y"]),
    ]
    ends = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, length]) for name, length in (("x", 3), ("y", 40))
    )
    x, y = ends
    cast = helper.make_tensor_value_info("cast", TensorProto.FLOAT, [7])
    graph = helper.make_graph(nodes, "g", [x], [y, cast], [weights, scale, shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "m.onnx"
    onnx.save_model(model, path, save_as_external_data=external, location="m.data", size_threshold=100)
    files = [path, tmp_path / "m.data"] if external else [path]
    found = model_facts(path)
    assert found["parameters"] == 3 * 40 + 40 + 7
    data = b"".join(file.read_bytes() for file in files)
    assert (found["bytes"], found["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
