"""Finds what a half-precision device still computes in single precision. Changes nothing.

This is a language model's arithmetic on token positions, and the mean square that a normalisation divides by. PyTorch
does it in its LayerNorm, Hugging Face's models in their RMSNorm and rotary embeddings, by casts that exporters drop
from a single-precision model (transformers 5: `LlamaRMSNorm.forward`, `LlamaRotaryEmbedding.forward`). In half
precision, angles of late positions would be off by a radian, and squares of large activations infinite.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from generators.models.values import positional, tensor_of

# The operators between a mean square and the division by its root.
_ROOT = frozenset(("Add", "Cast", "Pow", "Reciprocal", "ReduceMean", "Sqrt"))


def positional_nodes(model: ir.Model) -> set[ir.Node]:
    """Nodes that compute token masks and positions."""
    return {node for value in positional(model) if (node := value.producer()) is not None}


def statistics(model: ir.Model) -> set[ir.Node]:
    """Nodes that compute the mean square of a tensor and its root."""
    found: set[ir.Node] = set()
    for node in model.graph.all_nodes():
        users = [user for user, _ in node.outputs[0].uses()] if _squares(node) else []
        if users and all(user.op_type == "ReduceMean" for user in users):
            found.update((node, *_behind(node)))
    return found


def _squares(node: ir.Node) -> bool:
    if node.domain or node.op_type not in ("Mul", "Pow"):
        return False
    if node.op_type == "Mul":
        return node.inputs[0] is node.inputs[1]
    exponent = tensor_of(node.inputs[1])
    return exponent is not None and bool(np.all(exponent.numpy() == 2))


def _behind(node: ir.Node) -> list[ir.Node]:
    found: list[ir.Node] = []
    for user, _ in node.outputs[0].uses():
        inverts = user.op_type == "Div" and tensor_of(user.inputs[0]) is not None
        others = [value for value in user.inputs if value is not None and value is not node.outputs[0]]
        if inverts or (user.op_type in _ROOT and all(tensor_of(value) is not None for value in others)):
            found += [user, *_behind(user)]
    return found
