"""Access to the tensors inside a model: writes models that output some of them, or take them as inputs.

A tensor is a float value that depends on the model's input; sizes, and what is computed only from sizes and constants,
do not count. In a noised model, the tensor of the same name corresponds to it, after the QuantizeLinear and
DequantizeLinear, or the two Casts, that the noise has inserted: tensors are compared as the following nodes take them.
Tensors without a counterpart are left out, and so is everything in the bodies of control flow or in functions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from generators.models import files
from generators.models.graph import name_of
from generators.models.values import FLOATS, SIZES, Names, bodies, element_types, tensor_of

INPUT = "Input"
_FLOATS = (*FLOATS, ir.DataType.FLOAT16)
# The first and last operator of a rounding.
_ROUNDINGS = {"QuantizeLinear": "DequantizeLinear", "Cast": "Cast"}


class Tensor(NamedTuple):
    """A tensor, the node that makes it with its operator (`Input` for the model's inputs), and the tensors it is made
    of.

    `weights` are the positions of the node's constants with two or more axes.
    """

    name: str
    node: str
    operator: str
    inputs: tuple[str, ...] = ()
    weights: tuple[int, ...] = ()


class Tap(NamedTuple):
    """Where a tensor is in a model: as its node makes it, and as the following nodes take it, rounded or not."""

    made: str
    taken: str


class Tapped:
    """A model file with the tensors `of` the model that it was made from, or its own.

    `taps` are the tensors found in it. The models that it writes have no stated shapes.
    """

    def __init__(self, path: Path, of: Sequence[Tensor] | None = None) -> None:
        """Raises ModelError if the file cannot be read."""
        self._model = files.load(path)
        self.tensors = _tensors(self._model) if of is None else list(of)
        self._values = ir.convenience.create_value_mapping(self._model.graph)
        names = {tensor.name for tensor in self.tensors}
        found = (
            (name, self._values[name]) for name in (tensor.name for tensor in self.tensors) if name in self._values
        )
        self.taps = {name: _tap(value, names) for name, value in found}

    @property
    def outputs(self) -> list[str]:
        """The names of the model's outputs."""
        return [str(value.name) for value in self._model.graph.outputs]

    @property
    def bytes(self) -> int:
        """The size of the model's weights."""
        return sum(value.const_value.nbytes for value in self._model.graph.initializers.values() if value.const_value)

    def weights(self, tensor: Tensor, other: Tapped) -> list[tuple[str, str]]:
        """Pairs of names of the weights of a tensor's node: here, and in another model with such a node."""
        mine, theirs = (tapped._node(tensor.name) for tapped in (self, other))
        if mine is None or theirs is None or mine.op_type != theirs.op_type:
            return []
        pairs = ((mine.inputs[i], theirs.inputs[i]) for i in tensor.weights if i < len(theirs.inputs))
        return [(str(one.name), str(two.name)) for one, two in pairs if one is not None and two is not None]

    def write_values(self, names: Iterable[str], path: Path) -> None:
        """Write a model that outputs these values, in this order. Raises OSError."""
        model = self._model.clone()
        values = ir.convenience.create_value_mapping(model.graph)
        files.save(_only(model, [values[name] for name in names]), path)

    def write_shapes(self, names: Iterable[str], path: Path) -> None:
        """Write a model that outputs the shapes of these values, in this order. Raises OSError."""
        model = self._model.clone()
        values, new = ir.convenience.create_value_mapping(model.graph), Names(model)
        shapes = []
        for name in names:
            node = ir.node("Shape", [values[name]], name=new.new(f"{name}_shape"))
            node.outputs[0].name = node.name
            model.graph.append(node)
            shapes.append(node.outputs[0])
        files.save(_only(model, shapes), path)

    def write_apart(self, names: Iterable[str], path: Path) -> dict[str, str]:
        """Write a model that outputs these tensors, each computed from the original's tensors that it is made of.

        Each therefore has only the noise of its own node: of its weights, and of the rounding of its inputs. Returns
        the names of the model's inputs, by tensor. Raises OSError.
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
        files.save(_only(model, [values[self.taps[name].made] for name in names]), path)
        return {name: str(value.name) for name, value in given.items() if value in set(model.graph.inputs)}

    def write_behind(self, name: str, outputs: Iterable[str], path: Path) -> str:
        """Write a model that computes these outputs with this tensor as an input. Returns the input's name.

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
        files.save(_only(model, ends), path)
        return str(given.name)

    def _node(self, tensor: str) -> ir.Node | None:
        return self._values[self.taps[tensor].made].producer() if tensor in self.taps else None


def _tensors(model: ir.Model) -> list[Tensor]:
    """The tensors of a model's main graph, in topological order."""
    types = element_types(model)
    inputs = [value for value in model.graph.inputs if not value.is_initializer()]
    flowing = set(inputs)
    found = {value: Tensor(str(value.name), str(value.name), INPUT) for value in inputs if types.get(value) in _FLOATS}
    for node in model.graph:
        given = list(_given(node))
        if node.op_type in SIZES or flowing.isdisjoint(given):
            continue
        flowing.update(node.outputs)
        before = tuple(dict.fromkeys(found[value].name for value in given if value in found))
        weights = tuple(i for i, value in enumerate(node.inputs) if _is_weights(value))
        for value in node.outputs:
            if value.name and types.get(value) in _FLOATS and _is_tensor(value):
                found[value] = Tensor(value.name, name_of(node), node.op_type, before, weights)
    return list(found.values())


def _given(node: ir.Node) -> Iterable[ir.Value]:
    """All values that a node takes, including within its bodies."""
    yield from (value for value in node.inputs if value is not None)
    for body in bodies(node):
        yield from (value for inner in body.all_nodes() for value in inner.inputs if value is not None)


def _is_weights(value: ir.Value | None) -> bool:
    tensor = tensor_of(value)
    return tensor is not None and tensor.dtype in _FLOATS and len(tensor.shape) > 1


def _is_tensor(value: ir.Value) -> bool:
    return not isinstance(value.type, (ir.SequenceType, ir.OptionalType))


def _only(model: ir.Model, outputs: Collection[ir.Value]) -> ir.Model:
    """Reduce a model to these outputs, and the nodes and inputs that they need."""
    model.graph.outputs[:] = outputs
    RemoveUnusedNodesPass()(model)
    model.graph.inputs[:] = [value for value in model.graph.inputs if value.uses() or value.is_graph_output()]
    return model


def _tap(value: ir.Value, known: Collection[str]) -> Tap:
    """Where the tensor of this name is: an output's name passes to its rounded value."""
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
    """Whether these nodes are a pair that noise has inserted: the original model has no tensor between them."""
    if _ROUNDINGS.get(first.op_type) != last.op_type or first.outputs[0].name in known:
        return False
    return first.op_type != "Cast" or first.attributes.get_int("to", 0) == ir.DataType.FLOAT16
