"""Pooling noise: rounds the output length of strided max- or average-pooling up instead of down, or down instead of up.

Deployments differ here: Caffe rounds up, and so do converters derived from it; torch and ONNX round down by default.
The result equals torch's `ceil_mode=True` in every runtime. ONNX's `ceil_mode` does not if windows leave gaps or lie in
padding: before opset 22, its formula lacked torch's rule for the last window, and averages over windows that extend
past the input had wrong divisors (onnxruntime#29629). The attribute is therefore used only for a MaxPool whose windows
touch (stride + end padding <= window, as for 3x3 with a stride of 2 and 2x2 with 2), where all agree; otherwise the end
padding is extended so that rounding down gives the same windows, and averages leave it out of the divisor.

Pools are left alone if they have `auto_pad` SAME, whose output is ceil(length / stride) in either mode, a stride of 1,
or the wanted mode already. Refuses pools whose indices are used (MaxUnpool assumes the old size), and dilated windows
that leave gaps. The nodes after a changed size are adapted, or the model is refused.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from generators.models.fit import Sizes, fit
from generators.models.graph import (
    Change,
    ModelError,
    attribute,
    constant,
    inline_functions,
    insert,
    name_of,
    new_constant,
    new_name,
    operators,
    replace_input,
)
from generators.models.shapes import refresh_shapes
from generators.models.windows import Axis, pool_window

# The opsets of pools' attribute ceil_mode, and of Pad's input for the padding.
_CEIL_MODE_OPSET = 10
_PAD_INPUT_OPSET = 11

Rewrite = Callable[[ir.Model, ir.Node, list[Axis]], str]


def ceil_mode(model: ir.Model) -> list[Change]:
    """Round up in every MaxPool with a stride that rounds down. Raises ModelError."""
    return _rewrite(model, "MaxPool", False, _max_up)


def floor_mode(model: ir.Model) -> list[Change]:
    """Round down in every MaxPool with a stride that rounds up. Raises ModelError."""
    return _rewrite(model, "MaxPool", True, _max_down)


def ceil_mode_average(model: ir.Model) -> list[Change]:
    """Round up in every AveragePool with a stride that rounds down. Raises ModelError."""
    return _rewrite(model, "AveragePool", False, _average_up)


def reason(model: ir.Model, token: str) -> str:
    """Why `ceil_mode`, `floor_mode` or `ceil_mode_average`, which changed nothing in a model, does not apply to it."""
    operator, name = ("AveragePool", "average") if token == "ceil_mode_average" else ("MaxPool", "max")
    with_stride = [node for node in operators(model, operator) if max(attribute(node, "strides", (1,))) > 1]
    if not with_stride:
        return f"it has no {name}-pooling with a stride"
    mode, way = (0, "down") if token == "floor_mode" else (1, "up")
    if any(attribute(node, "ceil_mode", 0) == mode for node in with_stride):
        return f"its {name}-pooling rounds {way} already"
    return f"its {name}-pooling is padded to one size, however it rounds"


def _rewrite(model: ir.Model, operator: str, ceil: bool, rewrite: Rewrite) -> list[Change]:
    inline_functions(model, operator)
    concerned = []
    for node in operators(model, operator):
        window = pool_window(node)
        if window and any(axis.stride > 1 for axis in window) and bool(attribute(node, "ceil_mode", 0)) is ceil:
            concerned.append((node, window))
    if not concerned:
        return []
    sizes = Sizes(model)
    changes = [_change(model, node, window, rewrite) for node, window in concerned]
    changes += fit(model, sizes)
    refresh_shapes(model, operators(model, operator))
    return changes


def _change(model: ir.Model, node: ir.Node, window: list[Axis], rewrite: Rewrite) -> Change:
    if any(indices.uses() for indices in node.outputs[1:]):
        raise ModelError(
            f"{node.op_type} {name_of(node)!r}: its indices are used by other nodes, which assume its present size: "
            "export the model without them"
        )
    return Change(name_of(node), node.op_type, rewrite(model, node, window))


def _max_up(model: ir.Model, node: ir.Node, window: list[Axis]) -> str:
    touching = all(axis.stride + axis.end <= axis.span for axis in window)
    if touching and model.opset_imports[""] >= _CEIL_MODE_OPSET:
        node.attributes.add(ir.AttrInt64("ceil_mode", 1))
        return "ceil_mode 0 to 1"
    return _pad(node, [axis.begin for axis in window], [axis.ceil_end() for axis in window])


def _max_down(model: ir.Model, node: ir.Node, window: list[Axis]) -> str:
    node.attributes.add(ir.AttrInt64("ceil_mode", 0))
    return "ceil_mode 1 to 0"


def _average_up(model: ir.Model, node: ir.Node, window: list[Axis]) -> str:
    begins, ends = [axis.begin for axis in window], [axis.end for axis in window]
    outer = _padding_before(node, window)
    ups = [axis.ceil_end(before) for axis, before in zip(window, outer, strict=True)]
    if not attribute(node, "count_include_pad", 0) or not any((*begins, *ends)):
        node.attributes.pop("count_include_pad", None)
        return _pad(node, begins, ups)
    # The model's own padding counts, that of ceil mode does not: the former becomes a separate node.
    _pad_before(model, node, begins, ends)
    node.attributes.pop("count_include_pad")
    return _pad(node, [0] * len(begins), [up - end for up, end in zip(ups, ends, strict=True)])


def _pad(node: ir.Node, begins: list[int], ends: list[int]) -> str:
    """Set the padding of a pool; returns what was changed."""
    kernel = node.attributes["kernel_shape"].as_ints()
    if any(end >= length for end, length in zip(ends, kernel, strict=True)):
        raise ModelError(
            f"{node.op_type} {name_of(node)!r}: its dilated windows leave gaps, and no padding that runtimes take "
            "gives torch's ceil mode: export the model with that mode"
        )
    old = list(attribute(node, "pads", [0] * 2 * len(kernel)))
    node.attributes.pop("auto_pad", None)
    node.attributes.add(ir.AttrInt64s("pads", [*begins, *ends]))
    return f"pads {old} to {[*begins, *ends]}, which are not counted, as ceil mode has it"


def _padding_before(node: ir.Node, window: list[Axis]) -> list[int]:
    """The end padding of zeros by a Pad before an AveragePool, where torch's exporter puts the pool's own padding."""
    value = node.inputs[0]
    pad = value.producer() if value is not None else None
    none = [0] * len(window)
    if pad is None or pad.domain or pad.op_type != "Pad" or attribute(pad, "mode", "constant") != "constant":
        return none
    pads = constant(pad.inputs[1]) if len(pad.inputs) > 1 else attribute(pad, "pads", None)
    filling = constant(pad.inputs[2]) if len(pad.inputs) > 2 else attribute(pad, "value", 0)
    rank = len(window)
    if pads is None or len(pads) != 2 * (rank + 2) or (filling is not None and np.any(filling)):
        return none
    ends = [int(end) for end in pads[-rank:]]
    # torch's own padding is at most half a window.
    return ends if all(0 <= 2 * end <= axis.kernel for end, axis in zip(ends, window, strict=True)) else none


def _pad_before(model: ir.Model, node: ir.Node, begins: list[int], ends: list[int]) -> None:
    pads = [0, 0, *begins, 0, 0, *ends]
    name = new_name(model, f"{name_of(node)}_padded")
    if model.opset_imports[""] < _PAD_INPUT_OPSET:
        pad = ir.node("Pad", [node.inputs[0]], {"pads": pads}, name=name)
    else:
        amounts = new_constant(model, np.array(pads, np.int64), f"{name_of(node)}_pads", node)
        pad = ir.node("Pad", [node.inputs[0], amounts], name=name)
    replace_input(node, 0, insert(pad, name, node))
