"""Builds tiny TFLite models from the schema's own classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

_MISSING = "LiteRT is not installed: pip install -r requirements-dev.txt"
schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason=_MISSING)
flatbuffers = pytest.importorskip("flatbuffers", reason=_MISSING)

_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int32": schema.TensorType.INT32,
    "uint8": schema.TensorType.UINT8,
    "int8": schema.TensorType.INT8,
    "string": schema.TensorType.STRING,
}
# The file format's version, that of all TFLite models since 2018.
_VERSION = 3


@dataclass
class Flat:
    """A model under construction; tensors are numbered in the order in which they are added."""

    tensors: list[Any] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)
    codes: list[Any] = field(default_factory=list)
    buffers: list[Any] = field(default_factory=lambda: [schema.BufferT()])

    def tensor(
        self,
        name: str,
        dtype: str,
        shape: Sequence[int],
        scales: Sequence[float] = (),
        zero_point: int = 0,
        signature: Sequence[int] | None = None,
    ) -> int:
        """An input or computed tensor; `signature` is its shape with -1 for open lengths."""
        made = schema.TensorT()
        made.name, made.type, made.shape = name, _TYPES[dtype], list(shape)
        made.shapeSignature = None if signature is None else list(signature)
        if scales:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = list(scales)
            made.quantization.zeroPoint = [zero_point] * len(scales)
            made.quantization.quantizedDimension = len(shape) - 1 if len(scales) > 1 else 0
        self.tensors.append(made)
        return len(self.tensors) - 1

    def constant(self, name: str, values: NDArray[Any], scale: float | None = None, zero_point: int = 0) -> int:
        place = self.tensor(name, values.dtype.name, values.shape, () if scale is None else (scale,), zero_point)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.buffers.append(buffer)
        self.tensors[place].buffer = len(self.buffers) - 1
        return place

    def add(self, operator: str, inputs: Sequence[int], output: int, custom: str | None = None) -> None:
        """An operator by the schema's name, with its default options."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, operator)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.customCode, code.version = custom, 4 if operator == "FULLY_CONNECTED" else 1
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = len(self.codes), list(inputs), [output]
        options = {"FULLY_CONNECTED": "FullyConnectedOptions", "RESHAPE": "ReshapeOptions", "CAST": "CastOptions"}
        if operator in options:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, options[operator])
            made.builtinOptions = getattr(schema, f"{options[operator]}T")()
        self.codes.append(code)
        self.operators.append(made)

    def save(
        self, path: Path, inputs: Sequence[int], outputs: Sequence[int], signed: dict[str, int] | None = None
    ) -> Path:
        """Write the model; `signed` has the outputs' names in a signature."""
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs = list(inputs), list(outputs)
        model = schema.ModelT()
        model.version, model.subgraphs = _VERSION, [graph]
        model.operatorCodes, model.buffers = self.codes, self.buffers
        if signed:
            signature = schema.SignatureDefT()
            signature.signatureKey, signature.inputs = "serving_default", [_named("image", inputs[0])]
            signature.outputs = [_named(name, place) for name, place in signed.items()]
            model.signatureDefs = [signature]
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path


def _named(name: str, place: int) -> Any:
    made = schema.TensorMapT()
    made.name, made.tensorIndex = name, place
    return made
