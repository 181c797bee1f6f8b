"""Finds a model's weighted layers: their nodes, their data inputs, and the values that are not data to them.

Refuses layers inside the bodies of control flow, by name. Changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from generators.models.graph import ModelError, name_of
from generators.models.values import bodies, looks_up, positional, tensor_of

# Weights that count up have one value per bin of a distribution; larger ones need not be checked.
_MOST_BINS = 4096


class Layer(NamedTuple):
    """A layer's data input, its weights, and their axis of output channels, if there is one."""

    data: ir.Value
    weights: ir.Value
    axis: int | None


Layers = Mapping[ir.Node, Layer]


def has_layers(model: ir.Model) -> bool:
    """Whether there are weighted layers, in any graph."""
    constant = constant_values(model)
    return any(_layer(node, constant) for node in model.graph.all_nodes())


def layers_of(model: ir.Model) -> Layers:
    """The layers of the main graph, in its order. Raises ModelError if there are others."""
    constant = constant_values(model)
    for part in model.graph.subgraphs():
        for node in part:
            if _layer(node, constant):
                raise ModelError(
                    f"{name_of(node)} ({node.op_type}) has weights and stands in the body of an If, Loop or Scan, "
                    "where it cannot be quantised: export the model without it"
                )
    return {node: layer for node in model.graph if (layer := _layer(node, constant))}


def constant_values(model: ir.Model) -> set[ir.Value]:
    """Values that do not depend on the model's inputs, or only on the positions of tokens."""
    found = set(model.graph.initializers.values())
    for node in model.graph:
        given = [value for value in node.inputs if value is not None]
        if node.op_type == "Constant" or (given and found.issuperset(given) and not any(bodies(node))):
            found.update(node.outputs)
    return found | positional(model)


def weights_of(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor of weights: a constant, or a transposed constant, as in a tied embedding."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Transpose" or node.domain:
        return tensor_of(value)
    tensor = tensor_of(node.inputs[0])
    if tensor is None:
        return None
    axes = node.attributes.get_ints("perm", range(len(tensor.shape))[::-1])
    return transposed(tensor, axes)


def table_of(node: ir.Node) -> ir.Value | None:
    """The single-precision table in which a node looks up rows; None for other nodes."""
    table = node.inputs[0] if looks_up(node) else None
    tensor = tensor_of(table)
    return table if tensor is not None and tensor.dtype == ir.DataType.FLOAT else None


def transposed(tensor: ir.TensorProtocol, axes: Sequence[int]) -> ir.TensorProtocol:
    """A tensor with its axes in this order; its data is read lazily."""
    shape = tensor.shape.numpy()
    return ir.LazyTensor(
        lambda: ir.Tensor(np.ascontiguousarray(tensor.numpy().transpose(axes))),
        tensor.dtype,
        ir.Shape([shape[axis] for axis in axes]),
        name=tensor.name,
    )


def _layer(node: ir.Node, constant: Collection[ir.Value]) -> Layer | None:
    """A node as a layer; None if it is not one, its weights are not single-precision constants, or it decodes boxes."""
    if node.domain or node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return None
    data, weights = node.inputs[:2]
    left = node.op_type == "MatMul" and weights_of(weights) is None
    if left:
        data, weights = weights, data
    tensor = weights_of(weights)
    if data is None or data in constant or weights is None or tensor is None or tensor.dtype != ir.DataType.FLOAT:
        return None
    return None if _counts(tensor) else Layer(data, weights, _axis(node, tensor.shape.numpy(), left))


def _axis(node: ir.Node, shape: Sequence[int], left: bool) -> int | None:
    """The axis of a layer's weights for its output channels."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":  # in x out / group x ...: the first axis if each group has one output channel
        return 0 if shape[1] == 1 and node.attributes.get_int("group", 1) == shape[0] else 1
    if node.op_type == "Gemm":
        return 0 if node.attributes.get_int("transB", 0) else 1
    return len(shape) - (2 if left else 1) if len(shape) > 1 else None


def _counts(tensor: ir.TensorProtocol) -> bool:
    """Whether weights are 0, 1, 2, ...: they take the mean of a distribution over bins, which decodes boxes."""
    bins = max(tensor.shape.numpy(), default=0)
    if not 2 < bins == tensor.size <= _MOST_BINS:
        return False
    return bool((tensor.numpy().ravel() == np.arange(bins)).all())
