"""Shared by all passes over a model: what a pass returns and raises, and how it queries and edits a graph.

A pass takes an `onnx_ir.Model`, changes it in place and returns a `Change` for each changed node; no changes mean that
the noise does not apply to the model. If something cannot be rewritten, the model is refused, naming the node; it is
then left half-changed and has to be loaded again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import InlinePass


class ModelError(ValueError):
    """A model cannot be read, written or rewritten; the message is one line that names the node and says what to do."""


class Change(NamedTuple):
    """A changed node: its name (or its first output's if it has none), operator, and what was changed."""

    node: str
    operator: str
    what: str


def operators(model: ir.Model, *names: str) -> list[ir.Node]:
    """The nodes with one of these operators of ONNX's own domain, in the main graph and all graphs inside it."""
    return [node for node in model.graph.all_nodes() if node.op_type in names and not node.domain]


def inline_functions(model: ir.Model, *names: str) -> None:
    """Replace calls of model-local functions by their bodies, if a function contains one of these operators.

    Without operators, always do so. Raises ModelError.
    """
    held = {node.op_type for function in model.functions.values() for node in function.all_nodes()}
    if not model.functions or (names and held.isdisjoint(names)):
        return
    try:
        InlinePass()(model)
    except Exception as error:  # passes wrap what they raise
        raise ModelError(f"the model's functions cannot be inlined ({first_line(error)}): export it without") from None


def name_of(node: ir.Node) -> str:
    """A node's name, or its first output's if it has none."""
    return node.name or (node.outputs[0].name if node.outputs else None) or node.op_type


def attribute(node: ir.Node, name: str, default: Any) -> Any:
    """The value of a node's attribute, or the default if it is absent."""
    return node.attributes[name].value if name in node.attributes else default


def constant(value: ir.Value | None) -> NDArray[Any] | None:
    """The array of a value that is always the same: a weight, a constant, or one assembled only from constants."""
    if value is None:
        return None
    if (tensor := ir.convenience.get_const_tensor(value)) is not None:
        return tensor.numpy()
    node = value.producer()
    if node is None or node.domain or node.op_type not in ("Concat", "Identity", "Unsqueeze"):
        return None
    parts = [constant(each) for each in node.inputs]
    if any(part is None for part in parts):
        return None
    known = [part for part in parts if part is not None]
    if node.op_type == "Concat":
        joined: NDArray[Any] = np.concatenate(known, axis=node.attributes["axis"].as_int())
        return joined
    if node.op_type == "Identity":
        return known[0]
    axes = attribute(node, "axes", None) if len(known) == 1 else known[1]
    return np.expand_dims(known[0], tuple(int(axis) for axis in axes))


def new_constant(model: ir.Model, array: NDArray[Any], base: str, before: ir.Node) -> ir.Value:
    """Insert a Constant before a node; its name begins with `base`."""
    name = new_name(model, base)
    node = ir.node("Constant", [], {"value": ir.tensor(array, name=name)}, name=name)
    return insert(node, name, before)


def insert(node: ir.Node, output: str, before: ir.Node) -> ir.Value:
    """Insert a node before another; returns its output, which gets this name."""
    assert before.graph is not None
    node.outputs[0].name = output
    before.graph.insert_before(before, node)
    return node.outputs[0]


def new_name(model: ir.Model, base: str) -> str:
    """A name that no value or node has."""
    taken = {node.name for node in model.graph.all_nodes()} | {
        value.name for graph in model.graphs() for value in _values(graph)
    }
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    return name


def replace_input(node: ir.Node, index: int, value: ir.Value | None) -> None:
    """Replace an input of a node, and remove the old constant if nothing else uses it."""
    old = node.inputs[index] if index < len(node.inputs) else None
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)
    if old is None or old.uses() or old.is_graph_output():
        return
    producer = old.producer()
    if producer is None:
        if old.graph is not None and old.is_initializer() and not old.is_graph_input():
            del old.graph.initializers[old.name or ""]
    elif producer.op_type == "Constant" and producer.graph is not None:
        producer.graph.remove(producer, safe=True)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


def _values(graph: ir.Graph | ir.Function) -> Iterator[ir.Value]:
    yield from graph.inputs
    if isinstance(graph, ir.Graph):
        yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs
