"""Infers the shapes of a model's tensors node by node, and the small arrays (sizes, axes) that they depend on.

ONNX's own inference gives up if a size is assembled from other tensors' shapes (a Resize to another's size), and before
opset 22 it lacks torch's rule for the last window of a pool. This one computes such sizes, and has that rule. It knows
only the main graph; the outputs of control flow, functions and other domains have no known shape.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import onnx
import onnx.defs
import onnx.reference
import onnx.shape_inference
import onnx_ir as ir
from numpy.typing import NDArray

from generators.models.graph import attribute, first_line
from generators.models.windows import pool_window

# A shape as far as it is known; None if not even the rank is known.
Shape = tuple[int | None, ...]
Known = tuple[int, ...]
# The most elements of an array that is tracked: sizes, scales, pads, axes.
_SMALL = 256
# The operators that sizes are computed with.
# fmt: off
_ARITHMETIC = frozenset((
    "Add", "Cast", "Ceil", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Floor", "Gather",
    "Identity", "Less", "Max", "Min", "Mod", "Mul", "Neg", "Not", "ReduceProd", "Reshape", "Round", "Slice",
    "Squeeze", "Sub", "Unsqueeze", "Where",
))
# fmt: on
_POOLS = ("MaxPool", "AveragePool")
_CONTROL_FLOW = ("If", "Loop", "Scan")


class Inference:
    """What is known of a model's tensors after `step` has visited the nodes that make them, in the graph's order.

    With `size`, lengths that the inputs leave open are assumed to be this, and their first, the batch, to be 1.
    """

    def __init__(self, model: ir.Model, size: int | None = None) -> None:
        self._opsets = [onnx.helper.make_opsetid(domain, n) for domain, n in model.opset_imports.items()]
        self._opset = model.opset_imports.get("", 1)
        self._ir_version = model.ir_version
        self._types: dict[ir.Value, onnx.TypeProto] = {}
        self._arrays: dict[ir.Value, NDArray[np.generic]] = {}
        for value in model.graph.inputs:
            kind = ir.serde.serialize_value(value).type
            for index, dim in enumerate(kind.tensor_type.shape.dim if size is not None else ()):
                if not dim.HasField("dim_value"):
                    dim.dim_value = size if index else 1
            self._types[value] = kind
        for value in model.graph.initializers.values():
            self._learn_constant(value)

    def shape(self, value: ir.Value | None) -> Shape | None:
        """The shape of a value, as far as it is known."""
        if value is None or not (kind := self._types.get(value)) or not kind.tensor_type.HasField("shape"):
            return None
        return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in kind.tensor_type.shape.dim)

    def known(self, value: ir.Value | None) -> Known | None:
        """The shape of a value, if it is known completely."""
        shape = self.shape(value)
        return None if shape is None or None in shape else tuple(int(dim) for dim in shape if dim is not None)

    def stated(self, value: ir.Value) -> ir.Shape | None:
        """The shape of a value as the model may state it, including symbols."""
        kind = self._types.get(value)
        return ir.serde.deserialize_type_proto_for_shape(kind) if kind is not None else None

    def array(self, value: ir.Value | None) -> NDArray[np.generic] | None:
        """The small array that a value is for inputs of these shapes, if known."""
        return None if value is None else self._arrays.get(value)

    def step(self, node: ir.Node) -> str | None:
        """Infer the outputs of a node; returns ONNX's objection if its inputs do not fit."""
        if node.domain or node.op_type in _CONTROL_FLOW:
            self._learn_stated(node)
        elif node.op_type == "Constant":
            self._learn_constant(node.outputs[0])
        elif node.op_type in ("Shape", "Size") and self._compute_shape(node):
            pass
        elif node.op_type in _POOLS and (shape := self._pooled(node)) is not None:
            kind = self._types[_first(node)]
            self._learn(node.outputs[0], kind.tensor_type.elem_type, shape)
            for indices in node.outputs[1:]:
                self._learn(indices, onnx.TensorProto.INT64, shape)
        elif not (node.op_type in _ARITHMETIC and self._compute(node)):
            return self._infer(node)
        return None

    def _learn(self, value: ir.Value, elem_type: int, shape: Sequence[int | str | None] | None) -> None:
        self._types[value] = onnx.helper.make_tensor_type_proto(elem_type, shape)

    def _learn_array(self, value: ir.Value, array: NDArray[np.generic]) -> None:
        self._learn(value, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        if array.size <= _SMALL:
            self._arrays[value] = array

    def _learn_constant(self, value: ir.Value) -> None:
        tensor = ir.convenience.get_const_tensor(value)
        if tensor is None:
            return
        self._learn(value, int(tensor.dtype), tensor.shape.numpy())
        if tensor.size <= _SMALL:
            self._arrays[value] = tensor.numpy()

    def _learn_stated(self, node: ir.Node) -> None:
        """Keep stated types, which stay valid when shapes do not."""
        for output in node.outputs:
            if isinstance(output.type, ir.TensorType):
                self._learn(output, int(output.type.dtype), None)

    def _compute_shape(self, node: ir.Node) -> bool:
        shape = self.known(node.inputs[0])
        if shape is None:
            return False
        part = shape[attribute(node, "start", 0) : attribute(node, "end", None)]
        self._learn_array(node.outputs[0], np.array(part if node.op_type == "Shape" else math.prod(shape), np.int64))
        return True

    def _compute(self, node: ir.Node) -> bool:
        """Run a node on known arrays."""
        inputs = [value for value in node.inputs if value is not None]
        given = {value.name or "": self._arrays[value] for value in inputs if value in self._arrays}
        if not inputs or len(given) < len(set(inputs)):
            return False
        if node.op_type in ("ConstantOfShape", "Expand") and self._arrays[inputs[-1]].astype(np.int64).prod() > _SMALL:
            return False
        try:
            results = onnx.reference.ReferenceEvaluator(self._alone(node, inputs)).run(None, given)
        except Exception:  # an operator that the evaluator lacks, or inputs that do not fit
            return False
        for output, array in zip(node.outputs, results, strict=True):
            self._learn_array(output, np.asarray(array))
        return True

    def _alone(self, node: ir.Node, inputs: Sequence[ir.Value]) -> onnx.ModelProto:
        """A model of just this node: without a model, the evaluator assumes the newest operators."""
        given = [onnx.ValueInfoProto(name=value.name or "", type=self._types[value]) for value in dict.fromkeys(inputs)]
        made = [onnx.ValueInfoProto(name=output.name or "") for output in node.outputs]
        graph = onnx.helper.make_graph([ir.serde.serialize_node(node)], "node", given, made)
        return onnx.helper.make_model(graph, opset_imports=self._opsets)

    def _pooled(self, node: ir.Node) -> list[int | str | None] | None:
        stated, window = self.stated(_first(node)), pool_window(node)
        if stated is None or window is None or len(stated) != 2 + len(window):
            return None
        dims = [dim if isinstance(dim, int) else dim.value for dim in stated]
        axes = zip(dims[2:], window, strict=True)
        return [*dims[:2], *(axis.count(dim) if isinstance(dim, int) else None for dim, axis in axes)]

    def _infer(self, node: ir.Node) -> str | None:
        inputs = [value for value in node.inputs if value is not None]
        if any(value not in self._types for value in inputs):
            return None
        types = {value.name or "": self._types[value] for value in inputs}
        arrays = {
            value.name or "": onnx.numpy_helper.from_array(self._arrays[value])
            for value in inputs
            if value in self._arrays
        }
        try:
            schema = onnx.defs.get_schema(node.op_type, self._opset, "")
            proto = ir.serde.serialize_node(node)
            found = onnx.shape_inference.infer_node_outputs(
                schema, proto, types, arrays, None, self._opsets, self._ir_version
            )
        except Exception as error:  # InferenceError, and RuntimeError from some operators
            return first_line(error)
        for output in node.outputs:
            if output.name in found:
                self._types[output] = found[output.name]
        return None


def infer(model: ir.Model, size: int | None = None) -> Inference:
    """Everything that can be inferred about a model's tensors."""
    found = Inference(model, size)
    for node in model.graph:
        found.step(node)
    return found


def open_lengths(model: ir.Model) -> bool:
    """Whether an input leaves a length other than its first open."""
    inputs = [value for value in model.graph.inputs if not value.is_initializer()]
    return any(not isinstance(dim, int) for value in inputs if value.shape for dim in value.shape[1:])


def refresh_shapes(model: ir.Model, changed: Sequence[ir.Node]) -> None:
    """Replace the stated shapes of everything after the changed nodes by the inferred ones.

    If a shape is unknown, none is stated; outputs keep their rank, as ONNX requires.
    """
    found = infer(model)
    outputs = {output for graph in model.graphs() for output in graph.outputs}
    for value in _following(model, changed):
        if value.shape is None:
            continue
        shape = found.stated(value)
        if shape is not None:
            value.shape = ir.Shape([None if _made_up(dim) else dim for dim in shape])
        else:
            value.shape = ir.Shape([None] * len(value.shape)) if value in outputs else None


def _first(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    assert value is not None
    return value


def _following(model: ir.Model, changed: Sequence[ir.Node]) -> Iterator[ir.Value]:
    """The values that depend on these nodes; if there are graphs inside the main one, all values."""
    nodes = list(model.graph.all_nodes())
    inside = any(node.graph is not model.graph for node in nodes)
    stale = set(nodes if inside else changed)
    for node in nodes:
        if node in stale or any(value is not None and value.producer() in stale for value in node.inputs):
            stale.add(node)
            yield from node.outputs


def _made_up(dim: object) -> bool:
    """Whether a length's name was invented by ONNX's inference."""
    return isinstance(dim, ir.SymbolicDim) and (dim.value is None or dim.value.startswith("unk__"))
