"""Dynamic 8-bit quantisation: weights beforehand, and layers' inputs by their own range at every run.

Does what ONNX Runtime's `quantize_dynamic` does by default (onnxruntime/quantization/quantize.py, onnx_quantizer.py and
operators/, 1.31), to the last bit, with ONNX's own operators. MatMul with weights on its right, Gemm that is just such
a product and a bias, and Conv multiply integers: weights of 255 steps around 0, one scale per tensor, and inputs of 256
steps from their minimum to their maximum, by DynamicQuantizeLinear. The sum of products is exact, and scaled back to
single precision. A language model's embedding tables have 256 steps, from minimum to maximum. Everything else stays
float, including products of two tensors, as in attention.

Weights are stored as uint8 with a zero point of 128, the same numbers as int8 with 0: ONNX Runtime's uint8 by int8
kernels saturate on x86 CPUs without VNNI, and for ConvInteger no session option prevents it.

`quantize_dynamic` itself loses tied weights (a Gemm with transB and a Gather of one tensor), and leaves layers float
whose weights are a Transpose of a constant; here both are quantised. Refuses weights that are not finite.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from generators.models.graph import Change, ModelError, name_of
from generators.models.layers import layers_of, table_of, transposed, weights_of
from generators.models.opset import raise_opset
from generators.models.values import Names, is_language, shape_of, tensor_of

# The first opset with DynamicQuantizeLinear.
_OPSET = 11


class _Quantised(NamedTuple):
    """A quantised tensor: its steps, scale and zero point."""

    steps: ir.Value
    scale: ir.Value
    zero_point: ir.Value


def changes(model: ir.Model) -> list[Change]:
    """The changes that `quantise` would make; the model is unchanged. Raises ModelError."""
    return [Change(name_of(node), node.op_type, _what(node)) for node in _nodes(model)]


def quantise(model: ir.Model) -> list[Change]:
    """Quantise layers and tables; returns a change for each, in the graph's order. Raises ModelError.

    Weights are rounded one by one when they are written, so large ones stay on disk until then.
    """
    raise_opset(model, _OPSET)
    made = changes(model)
    rewriting = _Rewriting(model)
    for node in list(_nodes(model)):
        if node.op_type == "Gather":
            rewriting.table(node)
        else:
            rewriting.layer(node)
    RemoveUnusedNodesPass()(model)
    return made


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    layers, language = layers_of(model), is_language(model)
    for node in model.graph:
        if node in layers:
            if node.inputs[1] is layers[node].weights and _is_plain(node):
                yield node
        elif language and table_of(node):
            yield node


def _is_plain(node: ir.Node) -> bool:
    """Whether a node is just a product with weights, and perhaps a bias."""
    factors = (node.attributes.get_float(name, 1.0) for name in ("alpha", "beta"))
    return node.op_type in ("Conv", "MatMul") or (
        node.op_type == "Gemm" and all(factor == 1 for factor in factors) and not node.attributes.get_int("transA", 0)
    )


def _what(node: ir.Node) -> str:
    return (
        f"{'table' if node.op_type == 'Gather' else 'weights per tensor, and input as it comes,'} quantised to 8 bits"
    )


class _Rewriting:
    """Replaces a model's nodes by integer operators; a tensor is quantised once for all of its users."""

    def __init__(self, model: ir.Model) -> None:
        self._graph = model.graph
        self._names = Names(model)
        self._weights: dict[tuple[ir.Value, bool, bool], _Quantised] = {}
        self._tensors: dict[ir.Value, _Quantised] = {}

    def table(self, node: ir.Node) -> None:
        """Look up quantised rows, which are dequantised after the lookup; layers use them as they are."""
        found = self._constant(node.inputs[0], symmetric=False)
        name = str(node.outputs[0].name)
        rows = ir.node("Gather", [found.steps, node.inputs[1]], node.attributes)
        numbers = ir.node("DequantizeLinear", [*rows.outputs, found.scale, found.zero_point])
        self._replace(node, name, [rows, numbers])
        self._tensors[numbers.outputs[0]] = _Quantised(rows.outputs[0], found.scale, found.zero_point)

    def layer(self, node: ir.Node) -> None:
        """Replace a layer by an integer product, its scaling, and its bias."""
        data, turned = node.inputs[0], bool(node.attributes.get_int("transB", 0))
        assert data is not None
        weights = self._constant(node.inputs[1], symmetric=True, turned=turned)
        given = self._activation(data, node)
        operands = [given.steps, weights.steps, given.zero_point, weights.zero_point]
        if node.op_type == "Conv":
            product = ir.node("ConvInteger", operands, node.attributes)
        else:
            product = ir.node("MatMulInteger", operands)
        cast = ir.node("Cast", product.outputs, {"to": ir.DataType.FLOAT})
        scale = ir.node("Mul", [given.scale, weights.scale])
        nodes = [product, cast, scale, ir.node("Mul", [*cast.outputs, *scale.outputs])]
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            nodes += self._bias(node, node.inputs[2], nodes[-1].outputs[0])
        self._replace(node, str(node.outputs[0].name), nodes)

    def _bias(self, node: ir.Node, bias: ir.Value, of: ir.Value) -> list[ir.Node]:
        if node.op_type != "Conv":
            return [ir.node("Add", [of, bias])]
        weights = tensor_of(node.inputs[1])
        assert weights is not None
        axes = [1, -1, *[1] * (len(weights.shape) - 2)]
        reshape = ir.node("Reshape", [bias, self._initializer(np.array(axes, np.int64), f"{of.name}_bias_shape")])
        return [reshape, ir.node("Add", [of, *reshape.outputs])]

    def _activation(self, value: ir.Value, before: ir.Node) -> _Quantised:
        """A layer's quantised input; the first user is visited first, so it precedes all others."""
        if value not in self._tensors:
            node = ir.node("DynamicQuantizeLinear", [value], num_outputs=3)
            self._name(node, f"{value.name}_quantized")
            self._graph.insert_before(before, node)
            self._tensors[value] = _Quantised(*node.outputs)
        return self._tensors[value]

    def _constant(self, value: ir.Value | None, *, symmetric: bool, turned: bool = False) -> _Quantised:
        tensor = weights_of(value)
        assert value is not None
        assert tensor is not None
        if (value, symmetric, turned) not in self._weights:
            if turned:
                tensor = transposed(tensor, (1, 0))
            name = f"{value.name}_{'weights' if symmetric else 'table'}{'_transposed' if turned else ''}"
            scale, zero_point = _parameters(tensor, str(value.name), symmetric)
            lazily = functools.partial(_steps, tensor, scale, zero_point)
            steps = ir.LazyTensor(lazily, ir.DataType.UINT8, shape_of(tensor), cache=True)  # written twice
            self._weights[value, symmetric, turned] = _Quantised(
                self._initializer(steps, f"{name}_quantized"),
                self._initializer(scale, f"{name}_scale"),
                self._initializer(zero_point, f"{name}_zero_point"),
            )
        return self._weights[value, symmetric, turned]

    def _initializer(self, data: ir.TensorProtocol | NDArray[Any], name: str) -> ir.Value:
        tensor = ir.tensor(data) if isinstance(data, np.ndarray) else data
        tensor.name = self._names.new(name)
        value = ir.Value(name=tensor.name, type=ir.TensorType(tensor.dtype), shape=shape_of(tensor), const_value=tensor)
        self._graph.register_initializer(value)
        return value

    def _replace(self, node: ir.Node, name: str, nodes: list[ir.Node]) -> None:
        """Replace a node by several, the last of which makes its output."""
        for one in nodes[:-1]:
            self._name(one, f"{name}_{one.op_type}")
        nodes[-1].name = node.name
        ir.convenience.replace_nodes_and_values(
            self._graph, node, [node], nodes, [node.outputs[0]], [nodes[-1].outputs[0]]
        )

    def _name(self, node: ir.Node, name: str) -> None:
        node.name = self._names.new(name)
        for value in node.outputs:
            value.name = self._names.new(name)


def _parameters(tensor: ir.TensorProtocol, name: str, symmetric: bool) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """The scale and zero point of a tensor's 8 bits, by ONNX Runtime's quantiser."""
    from onnxruntime.quantization.quant_utils import QuantType, compute_data_quant_params

    values = tensor.numpy()
    if not np.isfinite(values).all():
        raise ModelError(f"{name} has infinite or NaN weights, which 8 bits cannot hold: export the model again")
    kind = QuantType.QInt8 if symmetric else QuantType.QUInt8
    zero_point, scale = compute_data_quant_params(values.ravel(), kind.tensor_type, symmetric)
    return np.asarray(scale, np.float32).reshape(()), np.asarray(int(zero_point) + 128 * symmetric, np.uint8)


def _steps(
    tensor: ir.TensorProtocol, scale: NDArray[np.float32], zero_point: NDArray[np.uint8]
) -> ir.Tensor[NDArray[np.uint8]]:
    """The steps of a tensor: q = round(x / s) + z."""
    steps = np.asarray(tensor.numpy() / scale)
    np.rint(steps, out=steps)
    steps += np.float32(zero_point)
    return ir.Tensor(steps.clip(0, 255, out=steps).astype(np.uint8), name=tensor.name)
