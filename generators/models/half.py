"""Rounds to half precision inside a model: weights in place, other tensors by two Casts after them.

See `precision` for the method. Refuses tensors of unknown type, naming the node.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from generators.models.exact import positional_nodes, statistics
from generators.models.graph import Change, ModelError, name_of
from generators.models.values import (
    FLOATS,
    SIZES,
    Names,
    bodies,
    constants,
    element_types,
    shape_of,
    tensor_of,
)

# Operators whose results are input values, or halves if their inputs are.
_SELECTING = frozenset(
    {
        *("Abs", "Ceil", "Clip", "Compress", "Concat", "ConcatFromSequence", "DepthToSpace", "Expand", "Flatten"),
        *("Floor", "Gather", "GatherElements", "GatherND", "GlobalMaxPool", "Identity", "If", "Loop", "Max", "MaxPool"),
        *("Min", "Neg", "Pad", "ReduceMax", "ReduceMin", "Relu", "Reshape", "ReverseSequence", "Round", "Scan"),
        *("SequenceAt", "SequenceConstruct", "SequenceInsert", "Slice", "SpaceToDepth", "Split", "SplitToSequence"),
        *("Squeeze", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "Where"),
    }
)
# The largest half.
_MOST = 65504.0
_Positions = Mapping[str, tuple[int, ...]]
# Operands that define shapes or crops, by operator.
_SHAPE_OPERANDS: _Positions = MappingProxyType(
    {
        "CenterCropPad": (1,),
        "ConstantOfShape": (0,),
        "Expand": (1,),
        "OneHot": (1,),
        "Pad": (1, 3),
        "Range": (0, 1, 2),
        "Reshape": (1,),
        "Resize": (1, 2, 3),
        "Slice": (1, 2, 3, 4),
        "Split": (1,),
        "Tile": (1,),
        "TopK": (1,),
        "Upsample": (1,),
    }
)
# Float operands that are settings of an operator, not tensors on a device.
_SETTINGS: _Positions = MappingProxyType({"Dropout": (1,), "NonMaxSuppression": (3, 4)})
_Use = tuple[ir.Node, int]


def round_to_half(model: ir.Model) -> list[Change]:
    """Round the input, weights and all float tensors; returns a change for the input and each node, in graph order."""
    rounding = _Rounding(model)
    nodes = list(model.graph.all_nodes())
    for value in list(model.graph.inputs):
        rounding.tensor(value, "Input")
    for value, tensor in list(constants(model)):
        rounding.constant(value, tensor)
    for node in nodes:
        if node in rounding.statistics or node.op_type == "Constant":
            continue
        if node.op_type == "ConstantOfShape":
            rounding.filling(node)
        if node in rounding.exact or not _selects(node):
            for value in node.outputs:
                rounding.tensor(value, node.op_type)
    return rounding.changes()


def _selects(node: ir.Node) -> bool:
    """Whether outputs are halves if inputs are; not if an attribute is a float, as Clip's bounds once were."""
    kinds = {attribute.type for attribute in node.attributes.values()}
    return not node.domain and node.op_type in _SELECTING and ir.AttributeType.FLOAT not in kinds


def _operands(node: ir.Node, table: _Positions) -> list[int]:
    positions = () if node.domain else table.get(node.op_type, ())
    return [i for i in positions if i < len(node.inputs) and node.inputs[i] is not None]


def _shape_nodes(model: ir.Model) -> set[ir.Node]:
    """Nodes that compute a shape operand only from other shapes and constants."""
    fixed: set[ir.Value] = set()
    for node in model.graph.all_nodes():
        given = [value for value in node.inputs if value is not None]
        known = given and all(value in fixed or tensor_of(value) is not None for value in given)
        if node.op_type in SIZES or (known and not any(bodies(node))):
            fixed.update(node.outputs)
    found: set[ir.Node] = set()
    todo = [node.inputs[i] for node in model.graph.all_nodes() for i in _operands(node, _SHAPE_OPERANDS)]
    while todo:
        value = todo.pop()
        before = value.producer() if value is not None and value in fixed else None
        if before is not None and before not in found and before.op_type not in SIZES:
            found.add(before)
            todo.extend(before.inputs)
    return found


class _Rounding:
    """Rounds values of a model, and records what was rounded at which node."""

    def __init__(self, model: ir.Model) -> None:
        self._positional = positional_nodes(model)
        # Their inputs are rounded where they become tensors of the device, and their outputs never.
        self.exact = _shape_nodes(model) | self._positional
        self.statistics = statistics(model)
        self._types = element_types(model)
        self._main = model.graph
        self._names = Names(model)
        self._noted: dict[ir.Node | ir.Value, tuple[str, str, list[str]]] = {}

    def changes(self) -> list[Change]:
        order: list[ir.Node | ir.Value] = [*self._main.inputs, *self._main.all_nodes()]
        found = [self._noted[one] for one in order if one in self._noted]
        return [Change(name, operator, f"{' and '.join(what)} rounded to half") for name, operator, what in found]

    def constant(self, value: ir.Value, tensor: ir.TensorProtocol) -> None:
        """Round a weight in place, or only for some of its users if others need it exact."""
        if tensor.dtype not in FLOATS:
            return
        users = [(user, i) for user, i in self._users(value) if user not in self.statistics]
        self._limit(value, tensor)
        if not users:
            return
        if len(users) < len(value.uses()):
            self._insert(value, tensor.dtype, users)
        elif (node := value.producer()) is not None:
            node.attributes.clear()
            node.attributes.add(ir.AttrTensor("value", _rounded(tensor)))
        else:
            lazily = functools.partial(_rounded, tensor)
            value.const_value = ir.LazyTensor(lazily, tensor.dtype, shape_of(tensor), name=value.name)
        for user, _ in users:
            self._note(user, name_of(user), user.op_type, "weights")

    def filling(self, node: ir.Node) -> None:
        """Limit the value that fills a mask."""
        filled = node.attributes.get_tensor("value")
        limited = _limited(filled) if filled is not None and node in self._positional else None
        if limited is not None:
            node.attributes.add(ir.AttrTensor("value", limited))

    def _limit(self, value: ir.Value, tensor: ir.TensorProtocol) -> None:
        """Limit masks' constants to halves, which a half-precision model has in place of its own type's minimum."""
        users = [(user, i) for user, i in value.uses() if user in self._positional]
        limited = _limited(tensor) if users else None
        if limited is None:
            return
        limited.name = self._names.new(f"{value.name}_limited")
        own = ir.Value(name=limited.name, const_value=limited)
        self._main.register_initializer(own)
        for user, i in users:
            user.replace_input_with(i, own)

    def tensor(self, value: ir.Value, operator: str) -> None:
        """Round an input of the model or an output of a node."""
        node = value.producer()
        used = value.uses() or value.is_graph_output()
        if not value.name or not used or isinstance(value.type, (ir.SequenceType, ir.OptionalType)):
            return
        name, dtype = str(value.name) if node is None else name_of(node), self._types.get(value)
        if dtype is None:
            raise ModelError(
                f"{name} ({operator}): the type of {value.name} is not known, so it cannot be rounded to half: export "
                "the model with its types, or with ONNX's operators only"
            )
        users = self._users(value)
        if dtype in FLOATS and (users or value.is_graph_output()):
            self._insert(value, dtype, users)
            self._note(node or value, name, operator, "input" if node is None else "output")

    def _users(self, value: ir.Value) -> list[_Use]:
        """The users of a value as a tensor on the device, not for computing a shape."""
        return [
            (user, i)
            for user, i in value.uses()
            if user not in self.exact
            and i not in _operands(user, _SHAPE_OPERANDS)
            and i not in _operands(user, _SETTINGS)
        ]

    def _note(self, key: ir.Node | ir.Value, name: str, operator: str, what: str) -> None:
        _, _, noted = self._noted.setdefault(key, (name, operator, []))
        if what not in noted:
            noted.append(what)

    def _insert(self, value: ir.Value, dtype: ir.DataType, users: list[_Use]) -> None:
        """Insert a Cast to half and one back after a value; a graph output's name passes to the rounded value."""
        node = value.producer()
        part = (value.graph if node is None else node.graph) or self._main
        # The value may be a body's output from outside it; a value that is both input and output is left alone.
        is_output = value.is_graph_output() and not value.is_graph_input()
        name = str(value.name)
        if is_output:
            value.name = self._names.new(f"{name}_exact")
        half = ir.node("Cast", [value], {"to": ir.DataType.FLOAT16}, name=self._names.new(f"{name}_to_half"))
        back = ir.node("Cast", half.outputs, {"to": dtype}, name=self._names.new(f"{name}_from_half"))
        half.outputs[0].name = self._names.new(f"{name}_half")
        rounded = back.outputs[0]
        rounded.name = name if is_output else self._names.new(f"{name}_rounded")
        rounded.type, rounded.shape = value.type, value.shape and value.shape.copy()
        if is_output and value.graph is not None:
            value.graph.outputs[:] = [rounded if output is value else output for output in value.graph.outputs]
        for user, i in users:
            user.replace_input_with(i, rounded)
        if node is not None:
            part.insert_after(node, [half, back])
        elif len(part):
            part.insert_before(part[0], [half, back])
        else:
            part.extend([half, back])


def _rounded(tensor: ir.TensorProtocol) -> ir.Tensor[NDArray[Any]]:
    """Round to halves in the tensor's own type; finite values stay finite, as in PyTorch's masks and converters."""
    values = tensor.numpy()
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16).astype(values.dtype)
    over = np.isinf(halves) & np.isfinite(values)
    return ir.Tensor(np.where(over, np.copysign(_MOST, values), halves) if over.any() else halves, name=tensor.name)


def _limited(tensor: ir.TensorProtocol) -> ir.Tensor[NDArray[Any]] | None:
    """The tensor limited to the range of halves; None if it is within. Infinities stay."""
    values = tensor.numpy()
    over = np.isfinite(values) & (np.abs(values) > _MOST)
    return ir.Tensor(np.where(over, np.copysign(_MOST, values), values), name=tensor.name) if over.any() else None
