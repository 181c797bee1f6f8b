"""Converts models to newer operators by ONNX's converter, except for old Resize and Upsample, which it gets wrong."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.version_converter
import onnx_ir as ir

from generators.models.files import graph_protos, skeleton
from generators.models.graph import (
    ModelError,
    attribute,
    constant,
    first_line,
    inline_functions,
    name_of,
    new_constant,
    replace_input,
)

# The first IR version in which a weight need not be an input too; since then, one that is may be overridden.
_FREE_WEIGHTS = 4
# The opset in which Resize got coordinate_transformation_mode, and the domain that hides older ones from the converter.
_COORDINATES = 11
_HELD = "sysnoise.held"


def raise_opset(model: ir.Model, version: int) -> None:
    """Convert a model to at least this version of ONNX's operators, unless it has it already.

    Inlines model-local functions. Raises ModelError.
    """
    current = model.opset_imports.get("", version)
    if current >= version:
        return
    inline_functions(model)
    with skeleton(model) as proto:
        _forget_inner_shapes(proto.graph)
        try:
            proto = onnx.shape_inference.infer_shapes(proto)
            if current < _COORDINATES:
                _hold_resizes(proto)
            proto = onnx.version_converter.convert_version(proto, version)
        except Exception as error:  # RuntimeError, the converter's own and others
            reason = first_line(error).rpartition("failed: ")[2]
            raise ModelError(
                f"the model cannot be converted from opset {current} to {version} ({reason}): export it with that one"
            ) from None
    _graft(model, ir.serde.deserialize_model(proto).graph)
    _release_resizes(model)


def _forget_inner_shapes(graph: onnx.GraphProto) -> None:
    """Remove all stated shapes but those of the graph's inputs."""
    for inner in graph_protos(graph):
        for value in (*inner.value_info, *inner.output):
            value.type.tensor_type.ClearField("shape")


def _hold_resizes(proto: onnx.ModelProto) -> None:
    """Hide Upsample, and Resize, from ONNX's converter if they predate coordinates: it renames the former's outputs,
    and gives both the newer operator's default coordinates.
    """
    for graph in graph_protos(proto.graph):
        for node in graph.node:
            if node.op_type in ("Upsample", "Resize") and not node.domain:
                node.domain = _HELD
    proto.opset_import.append(onnx.helper.make_opsetid(_HELD, 1))


def _release_resizes(model: ir.Model) -> None:
    """Turn the hidden nodes into Resize with `asymmetric` coordinates.

    As in ONNX Runtime, nearest rounds down if the scales enlarge, and up if they do not.
    """
    model.opset_imports.pop(_HELD, None)
    for node in [each for each in model.graph.all_nodes() if each.domain == _HELD]:
        if "scales" in node.attributes:
            numbers = np.array(node.attributes["scales"].as_floats(), np.float32)
            scales: ir.Value | None = new_constant(model, numbers, f"{name_of(node)}_scales", node)
        elif len(node.inputs) == 2:
            scales = node.inputs[1]
        else:
            raise ModelError(
                f"{node.op_type} {name_of(node)!r} has a form from before ONNX 1.2: export the model again"
            )
        known = constant(scales)
        down = known is not None and min(known, default=1) < 1
        mode = attribute(node, "mode", "nearest")
        node.domain, node.op_type = "", "Resize"
        node.attributes.clear()
        node.attributes.add(ir.AttrString("mode", mode))
        node.attributes.add(ir.AttrString("coordinate_transformation_mode", "asymmetric"))
        node.attributes.add(ir.AttrString("nearest_mode", "ceil" if down else "floor"))
        # In this order, since an unused constant is removed.
        replace_input(node, 2, scales)
        replace_input(node, 1, new_constant(model, np.zeros(0, np.float32), f"{name_of(node)}_roi", node))


def _graft(model: ir.Model, graph: ir.Graph) -> None:
    """Replace the model's graph by a converted one, keeping the model's own weights."""
    old = model.graph
    inputs = {value.name: value for value in graph.inputs}
    weights = dict(old.initializers)
    old.initializers.clear()
    for name, value in weights.items():
        if name in inputs and name not in graph.initializers:
            inputs[name].const_value = value.const_value
            graph.initializers.add(inputs[name])
    graph.inputs[:] = [inputs[value.name] for value in old.inputs]
    for output, stated in zip(graph.outputs, old.outputs, strict=True):
        output.shape, output.type = stated.shape, stated.type
    graph.name, graph.doc_string = old.name, old.doc_string
    graph.metadata_props.update(old.metadata_props)
    if model.ir_version < _FREE_WEIGHTS:
        # Every weight had to be an input, without meaning that it may be overridden.
        graph.inputs[:] = [value for value in graph.inputs if not value.is_initializer()]
    model.graph = graph
    least = onnx.helper.find_min_ir_version_for(
        [onnx.helper.make_opsetid("", graph.opset_imports[""])], ignore_unknown=True
    )
    model.ir_version = max(model.ir_version, least)
