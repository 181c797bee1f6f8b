"""Finds nodes whose inputs do not fit together, and says what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import onnx_ir as ir

from generators.models.graph import attribute, name_of
from generators.models.reshape import resolve
from generators.models.shapes import Inference

_BROADCASTING = frozenset(
    ("Add", "And", "Div", "Equal", "Greater", "Less", "Max", "Mean", "Min", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum")
) | {"Where", "Xor"}
_OPEN = (
    "the model assumes one size: export it with open height and width (dynamic axes), so that it takes its sizes from "
    "its tensors"
)
_POOLED = "export it with a global or adaptive pooling before them"
_PARTED = "nothing in the model brings these branches to one size, so it cannot be used this way"


class Misfit(NamedTuple):
    """Why a node's inputs do not fit, whether one of them may be resized to match the others, and what to do."""

    why: str
    meeting: bool = False
    advice: str = _OPEN


def contradiction(node: ir.Node, found: Inference) -> Misfit | None:
    """A conflict between a node's inputs, as far as their shapes are known."""
    shapes = [found.known(value) for value in node.inputs if value is not None]
    if node.domain or not shapes or shapes[0] is None:
        return None
    known = [shape for shape in shapes if shape is not None]
    listed = " and ".join(_written(shape) for shape in known)
    if node.op_type in _BROADCASTING:
        ends = zip(*([*[1] * (max(map(len, known)) - len(shape)), *shape] for shape in known), strict=True)
        if any(len({dim for dim in dims if dim != 1}) > 1 for dims in ends):
            return Misfit(f"its inputs are {listed} now", True)
    elif node.op_type == "Concat":
        axis = node.attributes["axis"].as_int() % max(len(shapes[0]), 1)
        if len({(*shape[:axis], *shape[axis + 1 :]) for shape in known}) > 1:
            return Misfit(f"its inputs are {listed} now", True)
    elif node.op_type in ("MatMul", "Gemm") and len(known) >= 2 and min(map(len, known[:2])) >= 2:
        left = known[0][0 if attribute(node, "transA", 0) else -1]
        right = known[1][-1 if attribute(node, "transB", 0) else -2]
        if left != right:
            return Misfit(f"its weights are for {right} values, and there are {left} now", advice=_POOLED)
    elif node.op_type == "Reshape":
        numbers = found.array(node.inputs[1]) if len(node.inputs) > 1 else None
        if numbers is not None and resolve(numbers, shapes[0], bool(attribute(node, "allowzero", 0))) is None:
            return Misfit(
                f"its input is {listed.partition(' and ')[0]}, which its shape {numbers.tolist()} does not fit"
            )
    elif node.op_type == "Split":
        parts = found.array(node.inputs[1]) if len(node.inputs) > 1 else attribute(node, "split", None)
        length = shapes[0][attribute(node, "axis", 0)]
        if parts is not None and sum(int(part) for part in parts) != length:
            return Misfit(f"it splits into {[int(part) for part in parts]} what is {length} long")
    return None


def refusal(node: ir.Node, misfit: Misfit) -> str:
    """The message that refuses a node for a misfit."""
    advice = misfit.advice
    if misfit.meeting and not any(value is not None and is_constant(value) for value in node.inputs):
        advice = _PARTED
    return f"{node.op_type} {name_of(node)!r}: {misfit.why}; {advice}"


def is_constant(value: ir.Value) -> bool:
    """Whether a value is an initializer or a Constant."""
    return ir.convenience.get_const_tensor(value) is not None


def _written(shape: Sequence[int | None]) -> str:
    return "x".join(str(dim) for dim in shape)
