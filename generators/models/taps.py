"""What a model computes on the way to its outputs: its tensors by name, put out, or put in from elsewhere.

A tensor is a float that hangs on the model's input; sizes, and what is computed of sizes and constants alone, are none.
In a model that noise was put into, the tensor of the same name plays its part, behind the QuantizeLinear and
DequantizeLinear, or the two Casts, that the noise put there: so a tensor is compared as what follows takes it. What has
no counterpart is left out. What stands in the bodies of control flow, or in functions, is not looked into.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from generators.models import graph
from generators.models.graph import name_of
from generators.models.values import FLOATS, Names, bodies, element_types, tensor_of

INPUT = "Input"
_FLOATS = (*FLOATS, ir.DataType.FLOAT16)
# What tells of a tensor's size and not of its values.
_SIZES = ("Shape", "Size")
# What a rounding begins with, and what ends it.
_ROUNDINGS = {"QuantizeLinear": "DequantizeLinear", "Cast": "Cast"}


class Tensor(NamedTuple):
    """A tensor, the node that puts it out with its operator (`Input` for the model's own), and those that go into it.

    `weights` has the positions of the node's constants of two or more axes.
    """

    name: str
    node: str
    operator: str
    inputs: tuple[str, ...] = ()
    weights: tuple[int, ...] = ()


class Tap(NamedTuple):
    """Where a tensor is found in a model: as its node puts it out, and as the nodes behind take it, rounded or not."""

    made: str
    taken: str


class Tapped:
    """A model's file whose tensors are those `of` the model that it was made from, or its own.

    `taps` has those that are found in it. What is written is a model of any inputs and outputs, without shapes.
    """

    def __init__(self, path: Path, of: Sequence[Tensor] | None = None) -> None:
        """Raises ModelError where the file cannot be read."""
        self._model = graph.load(path)
        self.tensors = _tensors(self._model) if of is None else list(of)
        self._values = ir.convenience.create_value_mapping(self._model.graph)
        names = {tensor.name for tensor in self.tensors}
        found = (
            (name, self._values[name]) for name in (tensor.name for tensor in self.tensors) if name in self._values
        )
        self.taps = {name: _tap(value, names) for name, value in found}

    @property
    def outputs(self) -> list[str]:
        """What the model puts out, by name."""
        return [str(value.name) for value in self._model.graph.outputs]

    @property
    def bytes(self) -> int:
        """What the model's weights take."""
        return sum(value.const_value.nbytes for value in self._model.graph.initializers.values() if value.const_value)

    def weights(self, tensor: Tensor, other: Tapped) -> list[tuple[str, str]]:
        """The weights of a tensor's node, by the names of their values here and in another model with such a node."""
        mine, theirs = (tapped._node(tensor.name) for tapped in (self, other))
        if mine is None or theirs is None or mine.op_type != theirs.op_type:
            return []
        pairs = ((mine.inputs[i], theirs.inputs[i]) for i in tensor.weights if i < len(theirs.inputs))
        return [(str(one.name), str(two.name)) for one, two in pairs if one is not None and two is not None]

    def write_values(self, names: Iterable[str], path: Path) -> None:
        """Write a model that puts out these values, in this order. Raises OSError."""
        model = self._model.clone()
        values = ir.convenience.create_value_mapping(model.graph)
        graph.save(_only(model, [values[name] for name in names]), path)

    def write_shapes(self, names: Iterable[str], path: Path) -> None:
        """Write a model that puts out the shapes of these values, in this order. Raises OSError."""
        model = self._model.clone()
        values, new = ir.convenience.create_value_mapping(model.graph), Names(model)
        shapes = []
        for name in names:
            node = ir.node("Shape", [values[name]], name=new.new(f"{name}_shape"))
            node.outputs[0].name = node.name
            model.graph.append(node)
            shapes.append(node.outputs[0])
        graph.save(_only(model, shapes), path)

    def write_apart(self, names: Iterable[str], path: Path) -> dict[str, str]:
        """Write a model that puts out these tensors as they are made, each of those of the original that it is made of.

        So each has the noise of its own node alone: of its weights, and of the rounding of what goes into it. Returns
        the names of the model's inputs, by the tensors that they take. Raises OSError.
        """
        model = self._model.clone()
        values = ir.convenience.create_value_mapping(model.graph)
        types, new = element_types(model), Names(model)
        given: dict[str, ir.Value] = {}
        for name, tap in self.taps.items():
            made = given[name] = values[tap.made]
            if not made.is_graph_input():
                dtype = types.get(made, ir.DataType.FLOAT)
                given[name] = ir.Value(name=new.new(f"{name}_given"), type=ir.TensorType(dtype))
                model.graph.inputs.append(given[name])
            for user, index in list(made.uses()):
                user.replace_input_with(index, given[name])
        graph.save(_only(model, [values[self.taps[name].made] for name in names]), path)
        return {name: str(value.name) for name, value in given.items() if value in set(model.graph.inputs)}

    def write_behind(self, name: str, outputs: Iterable[str], path: Path) -> str:
        """Write a model that computes these outputs with this tensor given. Returns the name of its input.

        Raises OSError.
        """
        model = self._model.clone()
        values = ir.convenience.create_value_mapping(model.graph)
        taken = values[self.taps[name].taken]
        dtype = element_types(model).get(taken, ir.DataType.FLOAT)
        given = ir.Value(name=Names(model).new(f"{name}_given"), type=ir.TensorType(dtype))
        model.graph.inputs.append(given)
        for user, index in list(taken.uses()):
            user.replace_input_with(index, given)
        ends = [given if values[output] is taken else values[output] for output in outputs]
        graph.save(_only(model, ends), path)
        return str(given.name)

    def _node(self, tensor: str) -> ir.Node | None:
        return self._values[self.taps[tensor].made].producer() if tensor in self.taps else None


def _tensors(model: ir.Model) -> list[Tensor]:
    """The tensors of a model's main graph, in an order in which it can be computed."""
    types = element_types(model)
    inputs = [value for value in model.graph.inputs if not value.is_initializer()]
    flowing = set(inputs)
    found = {value: Tensor(str(value.name), str(value.name), INPUT) for value in inputs if types.get(value) in _FLOATS}
    for node in model.graph:
        given = list(_given(node))
        if node.op_type in _SIZES or flowing.isdisjoint(given):
            continue
        flowing.update(node.outputs)
        before = tuple(dict.fromkeys(found[value].name for value in given if value in found))
        weights = tuple(i for i, value in enumerate(node.inputs) if _is_weights(value))
        for value in node.outputs:
            if value.name and types.get(value) in _FLOATS and _is_tensor(value):
                found[value] = Tensor(value.name, name_of(node), node.op_type, before, weights)
    return list(found.values())


def _given(node: ir.Node) -> Iterable[ir.Value]:
    """All that a node takes, within its bodies as well."""
    yield from (value for value in node.inputs if value is not None)
    for body in bodies(node):
        yield from (value for inner in body.all_nodes() for value in inner.inputs if value is not None)


def _is_weights(value: ir.Value | None) -> bool:
    tensor = tensor_of(value)
    return tensor is not None and tensor.dtype in _FLOATS and len(tensor.shape) > 1


def _is_tensor(value: ir.Value) -> bool:
    return not isinstance(value.type, (ir.SequenceType, ir.OptionalType))


def _only(model: ir.Model, outputs: Collection[ir.Value]) -> ir.Model:
    """A model with these outputs alone, and no more nodes and inputs than they need."""
    model.graph.outputs[:] = outputs
    RemoveUnusedNodesPass()(model)
    model.graph.inputs[:] = [value for value in model.graph.inputs if value.uses() or value.is_graph_output()]
    return model


def _tap(value: ir.Value, known: Collection[str]) -> Tap:
    """Where a tensor is, of which `value` has the name: an output's passes to what is rounded."""
    name = str(value.name)
    last = value.producer()
    before = last.inputs[0] if last is not None and last.inputs else None
    first = before.producer() if before is not None else None
    if first is not None and last is not None and _is_rounding(first, last, known):
        made = first.inputs[0]
        if made is not None and made.name not in known:
            return Tap(str(made.name), name)
    for user, _ in value.uses():
        for last, _ in user.outputs[0].uses() if user.outputs else ():
            if _is_rounding(user, last, known) and last.outputs[0].name not in known:
                return Tap(name, str(last.outputs[0].name))
    return Tap(name, name)


def _is_rounding(first: ir.Node, last: ir.Node, known: Collection[str]) -> bool:
    """Whether these are a pair that noise put in: what is between them is no tensor of the model without it."""
    if _ROUNDINGS.get(first.op_type) != last.op_type or first.outputs[0].name in known:
        return False
    return first.op_type != "Cast" or first.attributes.get_int("to", 0) == ir.DataType.FLOAT16
