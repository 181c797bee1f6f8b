"""Tiny ONNX models, and ONNX Runtime's outputs of them."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from generators.models import files

Array = NDArray[np.float32]
Dims = Sequence[int | str | None]
OPEN: Dims = ("n", "c", "h", "w")
# Errors are raised anyway.
_FATAL = 4


def proto(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, NDArray[np.generic]] | None = None,
    opset: int = 13,
    image: Dims = OPEN,
    out: Dims = OPEN,
    ir_version: int = 8,
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    """A model from `image` to `out`."""
    made = helper.make_graph(
        list(nodes),
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(made, opset_imports=imports, ir_version=ir_version)


def model(*arguments: Any, **options: Any) -> ir.Model:
    """The same in onnx_ir."""
    return ir.serde.deserialize_model(proto(*arguments, **options))


def run(made: onnx.ModelProto | ir.Model | Path, image: Array, optimised: bool = True) -> list[Array]:
    """The outputs of a model, after ONNX's checker has passed it."""
    options = onnxruntime.SessionOptions()
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = 1
    if isinstance(made, ir.Model):
        made = ir.serde.serialize_model(made)
    given = str(made) if isinstance(made, Path) else made.SerializeToString()
    onnx.checker.check_model(given if isinstance(made, Path) else made, full_check=True)
    session = onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    found: list[Array] = session.run(None, {session.get_inputs()[0].name: image})
    return found


def pixels(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape, dtype=np.float32)


def saved(made: ir.Model, path: Path) -> Path:
    files.save(made, path)
    return path


def pytorch() -> Any:
    """PyTorch. Without it, the test or module that asks for it is skipped, except in CI."""
    if os.environ.get("CI"):
        return importlib.import_module("torch")
    return pytest.importorskip("torch", reason="PyTorch is not installed: pip install -r requirements-timm.txt")
