"""Chooses what to quantise to 8 bits after training, as MQBench's quantisers for TensorRT and for language models do.

See `precision` for the choice. Refuses what `layers` refuses. Changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from generators.models.graph import Change, name_of
from generators.models.layers import Layers, constant_values, layers_of, table_of
from generators.models.values import element_types, is_language, tensor_of

# Operators, besides weighted layers, whose first operand is quantised.
_QUANTISED_INPUT = frozenset(
    (
        "AveragePool",
        "BatchNormalization",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "MaxPool",
        "PRelu",
        "Resize",
        "Upsample",
    )
)
# Operators that pass on values from all operands, and those that pass on none; all others pass on their first.
_MERGING = frozenset(("Add", "Concat", "Div", "Einsum", "Gemm", "MatMul", "Max", "Mean", "Min", "Mul", "Sub", "Sum"))
_ENDS = frozenset(("Cast", "If", "Loop", "NonMaxSuppression", "NonZero", "Scan", "Shape", "Size"))


@dataclass
class Plan:
    """What to quantise: weights, by the axis that has a scale per channel, with their nodes; and other tensors."""

    weights: dict[tuple[ir.Value, int | None], list[ir.Node]] = field(default_factory=dict)
    tensors: dict[ir.Value, None] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)

    def add(
        self,
        node: ir.Node,
        tensors: Collection[ir.Value],
        weights: ir.Value | None = None,
        axis: int | None = None,
    ) -> None:
        """Quantise these for a node, if there are any."""
        what = ["input"] if tensors else []
        if weights is not None:
            self.weights.setdefault((weights, axis), []).append(node)
            what.insert(0, f"weights per {'tensor' if axis is None else 'channel'}")
        if what:
            self.tensors.update(dict.fromkeys(tensors))
            self.changes.append(Change(name_of(node), node.op_type, f"{' and '.join(what)} quantised to 8 bits"))


def plan(model: ir.Model, *, per_channel: bool) -> Plan:
    """What to quantise in a model. Raises ModelError."""
    constant, layers = constant_values(model), layers_of(model)
    language = is_language(model)
    ahead = set() if language else _values_ahead(model, layers, constant)
    found = Plan()
    for node in model.graph:
        if layer := layers.get(node):
            found.add(node, [layer.data], layer.weights, layer.axis if per_channel else None)
        elif language and (table := table_of(node)):
            found.add(node, [], table, 0 if per_channel else None)
        elif language:
            found.add(node, _factors(node, constant))
        elif ahead.intersection(node.outputs):
            found.add(node, _quantised_inputs(node, layers, constant))
    return found


def _factors(node: ir.Node, constant: Collection[ir.Value]) -> list[ir.Value]:
    """The inputs to quantise of a product of two tensors, as in attention."""
    given = [value for value in node.inputs if value is not None and value not in constant]
    return given if node.op_type == "MatMul" and not node.domain and len(given) == 2 else []


def _values_ahead(model: ir.Model, layers: Layers, constant: Collection[ir.Value]) -> set[ir.Value]:
    """Values that lead to a layer's data input, other than as weights, indices, sizes, or boxes to crop."""
    types = element_types(model)
    found: set[ir.Value] = set()
    for node in reversed(model.graph):
        if node in layers:
            found.add(layers[node].data)
        elif found.intersection(node.outputs) and (node.op_type not in _ENDS or _changes_nothing(node, types)):
            passed = _passed(node)
            found.update(value for value in passed if value is not None and value not in constant)
    return found


def _changes_nothing(node: ir.Node, types: Mapping[ir.Value, ir.DataType]) -> bool:
    """Whether a node is a Cast to the type that its input has already, as exporters insert at each normalisation."""
    (value,) = node.inputs if node.op_type == "Cast" else (None,)
    return value is not None and types.get(value) == node.attributes.get_int("to", 0) == ir.DataType.FLOAT


def _passed(node: ir.Node) -> Iterable[ir.Value | None]:
    if node.op_type == "Where":
        return node.inputs[1:]
    return node.inputs if node.op_type in _MERGING else node.inputs[:1]


def _quantised_inputs(node: ir.Node, layers: Layers, constant: Collection[ir.Value]) -> list[ir.Value]:
    """The inputs to quantise of a node that is not a layer."""
    given = [value for value in node.inputs if value is not None and value not in constant]
    if node.domain or not given:
        return []
    if node.op_type == "Add" and len(given) == 2:
        made = [value for value in reversed(given) if _made_by_layer(value, layers, constant)]
        return [value for value in given if value not in made[:1]]
    if node.op_type == "BatchNormalization" and _made_by_layer(given[0], layers, constant):
        return []
    return given[:1] if node.op_type in _QUANTISED_INPUT or _pools(node) else []


def _pools(node: ir.Node) -> bool:
    """Whether a mean is over height and width, as exporters write average pooling, and not a normalisation's."""
    if node.op_type != "ReduceMean":
        return False
    axes = tensor_of(node.inputs[1]) if len(node.inputs) > 1 else None
    return (len(node.attributes.get_ints("axes", ())) if axes is None else axes.size) > 1


def _made_by_layer(value: ir.Value | None, layers: Layers, constant: Collection[ir.Value]) -> bool:
    """Whether a value with one user is a layer's output, perhaps after adding a bias: a device fuses it."""
    node = value.producer() if value is not None else None
    if value is None or node is None or len(value.uses()) != 1 or value.is_graph_output():
        return False
    if node.op_type == "Reshape":  # rows that were multiplied as a matrix
        return _made_by_layer(node.inputs[0], layers, constant)
    if node.op_type == "Add" and any(one in constant for one in node.inputs):
        return any(one is not None and _made_by_layer(one, layers, constant) for one in node.inputs)
    return node in layers
