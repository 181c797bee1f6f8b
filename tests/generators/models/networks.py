"""Small networks for the tests of precision, and ways to run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from generators.models import files

Array = NDArray[Any]
Dims = Sequence[int | str]


def proto(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Array],
    image: Dims,
    outputs: Sequence[str] = ("out",),
    opset: int = 17,
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    """A model from `image` to `outputs`."""
    made = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    bare = helper.make_model(made, opset_imports=[], ir_version=8)
    bare.opset_import.extend([helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in domains)])
    whole = onnx.shape_inference.infer_shapes(bare)
    del whole.graph.value_info[:]  # ONNX's checker requires only the shapes of outputs
    return whole


def model(*arguments: Any, **options: Any) -> ir.Model:
    """The same, as passes take it."""
    return ir.from_proto(proto(*arguments, **options))


def data(changed: ir.Model, folder: Path) -> bytes:
    """The bytes of the model's file, after ONNX's own checks."""
    path = folder / "written.onnx"
    files.save(changed, path)
    onnx.checker.check_model(path, full_check=True)
    return path.read_bytes()


def run(
    written: bytes | Path, image: Array, config: Mapping[str, str] | None = None, optimised: bool = True
) -> list[Array]:
    """ONNX Runtime's outputs of a model, with all of its optimisations or none."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    for key, value in (config or {}).items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(written, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {session.get_inputs()[0].name: image}))


def conv(image: Array, weights: Array) -> Array:
    """A convolution without padding, in plain double precision."""
    windows = np.lib.stride_tricks.sliding_window_view(image.astype(np.float64), (1, 1, *weights.shape[2:]))
    found: Array = np.einsum("nchwabij,ocij->nohw", windows, weights.astype(np.float64))
    return found


def two_layers(seed: int) -> tuple[dict[str, Array], list[onnx.NodeProto]]:
    """Weights and nodes of convolution, ReLU, convolution, for an image of 3 channels."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(6, 3, 3, 3)) * rng.uniform(0.05, 0.5, size=(6, 1, 1, 1))
    constants = {
        "w1": first.astype(np.float32),
        "b1": rng.normal(size=6).astype(np.float32),
        "w2": rng.normal(scale=0.2, size=(4, 6, 3, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], name="first"),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu"),
        helper.make_node("Conv", ["r1", "w2"], ["out"], name="second"),
    ]
    return constants, nodes


IMAGE = (1, 3, 9, 8)


def images(seed: int, count: int = 4, shape: tuple[int, ...] = IMAGE) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32) for _ in range(count)]


def half(values: Array) -> Array:
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float64)


def initializers(changed: ir.Model) -> dict[str, Array]:
    return {name: value.const_value.numpy() for name, value in changed.graph.initializers.items() if value.const_value}


def operators(changed: ir.Model) -> list[str]:
    return [node.op_type for node in changed.graph]


def branches(constants: dict[str, Array]) -> onnx.ModelProto:
    """A model that squares its input in one branch, and divides it by a branch-local weight in the other."""
    out = helper.make_tensor_value_info("", TensorProto.FLOAT, None)

    def body(name: str, nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto]) -> onnx.GraphProto:
        out.name = name
        return helper.make_graph(nodes, name, [], [out], weights)

    divisor = numpy_helper.from_array(np.array(0.3, np.float32), "divisor")
    then = body("squared", [helper.make_node("Mul", ["double", "double"], ["squared"])], [])
    other = body("divided", [helper.make_node("Div", ["double", "divisor"], ["divided"])], [divisor])
    nodes = [
        helper.make_node("Mul", ["image", "two"], ["double"]),
        helper.make_node("ReduceSum", ["image"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["chosen"], then_branch=then, else_branch=other),
        helper.make_node("Add", ["chosen", "third"], ["out"]),
    ]
    return proto(nodes, constants, (5,))
