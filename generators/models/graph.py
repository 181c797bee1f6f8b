"""Shared by all passes over a model: reading, writing, conversion to newer operators, and queries.

A pass takes an `onnx_ir.Model`, changes it in place and returns a `Change` for each changed node; no changes mean that
the noise does not apply to the model. If something cannot be rewritten, the model is refused, naming the node; it is
then left half-changed and has to be loaded again.

Refuses files that are not ONNX models or that ONNX's checker refuses, sparse weights (onnx_ir drops them), and weights
outside the model's folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import onnx
import onnx.checker
import onnx.version_converter
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import InlinePass

# Protobuf's limit, 2^31 - 1, minus room for the lengths of messages.
_MOST_EMBEDDED = 2**31 - 2**20
# onnx.save_model's size_threshold, in bytes: smaller tensors stay in the model's file.
_LEAST_EXTERNAL = 1024
# onnx.proto: the tags of ModelProto.graph (7) and GraphProto.initializer (5), both length-prefixed messages.
_GRAPH, _INITIALIZER = b"\x3a", b"\x2a"
# The first IR version in which a weight need not be an input too; since then, one that is may be overridden.
_FREE_WEIGHTS = 4
# The opset in which Resize got coordinate_transformation_mode, and the domain that hides older ones from the converter.
_COORDINATES = 11
_HELD = "sysnoise.held"


class ModelError(ValueError):
    """A model cannot be read, written or rewritten; the message is one line that names the node and says what to do."""


class Change(NamedTuple):
    """A changed node: its name (or its first output's if it has none), operator, and what was changed."""

    node: str
    operator: str
    what: str


def load(path: Path) -> ir.Model:
    """Read a model; external weights stay on disk until they are needed. Raises ModelError."""
    path = Path(os.path.abspath(path))
    try:
        model = ir.serde.deserialize_model(_parse(path.read_bytes()))
        _bind_weights(model, path.parent)
        with _skeleton(model) as skeleton:
            onnx.checker.check_model(skeleton)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror or error})") from None
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    except Exception as error:  # protobuf and onnx_ir raise almost anything on damaged files
        raise ModelError(f"{path} is not a readable ONNX model ({first_line(error)})") from None
    return model


def save(model: ir.Model, path: Path) -> None:
    """Write a model that any runtime can read, atomically; the same model gives the same bytes.

    Weights that are external, or that would push the file over protobuf's 2 GiB, go to `<name>.data` next to it.
    Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = path.with_name(f"{path.name}.data")
    folder = path.with_name(f".{path.name}.partial")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir()
        _write(model, folder / path.name)
        # A model must never be seen with another's weights.
        path.unlink(missing_ok=True)
        if (written := folder / weights.name).exists():
            os.replace(written, weights)
        else:
            weights.unlink(missing_ok=True)
        os.replace(folder / path.name, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def raise_opset(model: ir.Model, version: int) -> None:
    """Convert a model to at least this version of ONNX's operators, unless it has it already.

    Inlines model-local functions. Raises ModelError.
    """
    current = model.opset_imports.get("", version)
    if current >= version:
        return
    inline_functions(model)
    with _skeleton(model) as proto:
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


def _parse(data: bytes) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    proto.ParseFromString(data)
    if not (proto.HasField("graph") and proto.opset_import and proto.graph.output):
        raise ValueError("it contains no graph")
    if any(graph.sparse_initializer for graph in _graph_protos(proto.graph)):
        raise ValueError("it has sparse weights: export it with dense ones")
    _check_names(proto.graph, {""})
    return proto


def _check_names(graph: onnx.GraphProto, outer: set[str]) -> None:
    """Check that everything that a graph uses exists."""
    named = (*graph.input, *graph.initializer)
    known = outer.union((each.name for each in named), (name for node in graph.node for name in node.output))
    for node in graph.node:
        if unknown := known.union(node.input) - known:
            raise ValueError(f"{node.op_type} {node.name!r} uses {min(unknown)!r}, which nothing makes")
        for given in node.attribute:
            for inner in (*([given.g] if given.HasField("g") else []), *given.graphs):
                _check_names(inner, known)


def _graph_protos(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all graphs inside its nodes."""
    yield graph
    for node in graph.node:
        for given in node.attribute:
            for inner in (*([given.g] if given.HasField("g") else []), *given.graphs):
                yield from _graph_protos(inner)


def _tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    """The weights of a model's graphs."""
    for graph in model.graphs():
        yield from (value.const_value for value in graph.initializers.values() if value.const_value is not None)


def _bind_weights(model: ir.Model, folder: Path) -> None:
    """Locate external weights, check that all weights are complete, and read small external ones into memory."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor):
                _bind(tensor, folder)
                if tensor.nbytes < _LEAST_EXTERNAL:
                    value.const_value = _in_memory(tensor)
            elif tensor is not None and len(tensor.tobytes()) != tensor.nbytes:
                raise ModelError(f"tensor {value.name!r} is shorter or longer than its shape says")
    nodes = (*model.graph.all_nodes(), *(node for f in model.functions.values() for node in f.all_nodes()))
    for node in nodes:
        for name, given in node.attributes.items():
            if isinstance(given.value, ir.ExternalTensor):
                _bind(given.value, folder)
                # Writers look for external data only among the weights.
                node.attributes.add(ir.AttrTensor(name, _in_memory(given.value)))


def _in_memory(tensor: ir.ExternalTensor) -> ir.TensorProtocol:
    return ir.Tensor(tensor.numpy().copy(), tensor.dtype, name=tensor.name)


def _bind(tensor: ir.ExternalTensor, folder: Path) -> None:
    place = folder / tensor.location
    inside = place.resolve().is_relative_to(folder.resolve()) and not os.path.isabs(tensor.location)
    if not inside:
        raise ModelError(
            f"its weights are outside its folder ({os.fspath(tensor.location)!r}): put the file, not a link, beside it"
        )
    try:
        found = place.stat()
    except OSError as error:
        raise ModelError(f"its weights {place} cannot be read ({error.strerror or error})") from None
    if found.st_nlink > 1:
        raise ModelError(f"its weights {place} have several names (hard links), which onnx_ir refuses: copy them")
    if tensor.length not in (None, tensor.nbytes) or (tensor.offset or 0) + tensor.nbytes > found.st_size:
        raise ModelError(f"its weights {place} are shorter than tensor {tensor.name!r} says: copy them again")
    tensor.base_dir = folder


def _write(model: ir.Model, path: Path) -> None:
    tensors = list(_tensors(model))
    if (
        any(isinstance(tensor, ir.ExternalTensor) for tensor in tensors)
        or sum(tensor.nbytes for tensor in tensors) > _MOST_EMBEDDED
    ):
        # onnx_ir embeds tensors up to and including its threshold.
        least = _LEAST_EXTERNAL - 1
        ir.save(model, path, format="protobuf", external_data=f"{path.name}.data", size_threshold_bytes=least)
    else:
        with path.open("wb") as file:
            _write_embedded(model, file)


def _write_embedded(model: ir.Model, file: BinaryIO) -> None:
    """Write a model one weight at a time: protobuf's serialisation takes two more copies of all of them."""
    tensors = [value.const_value for value in model.graph.initializers.values() if value.const_value is not None]
    names = [value.name for value in model.graph.initializers.values() if value.const_value is not None]
    with _skeleton(model, inputs=False) as proto:
        graph = proto.graph.SerializeToString(deterministic=True)
        proto.ClearField("graph")
        head = proto.SerializeToString(deterministic=True)
    lengths = [_serialized(tensor, name).ByteSize() for tensor, name in zip(tensors, names, strict=True)]
    total = len(graph) + sum(len(_INITIALIZER) + len(_varint(length)) + length for length in lengths)
    file.write(head + _GRAPH + _varint(total) + graph)
    for tensor, name, length in zip(tensors, names, lengths, strict=True):
        file.write(_INITIALIZER + _varint(length))
        file.write(_serialized(tensor, name).SerializeToString(deterministic=True))


def _serialized(tensor: ir.TensorProtocol, name: str | None) -> onnx.TensorProto:
    tensor.name = name or ""
    return ir.serde.serialize_tensor(tensor)


def _varint(number: int) -> bytes:
    """Protobuf's encoding of a length: seven bits per byte, lowest first."""
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


@contextlib.contextmanager
def _skeleton(model: ir.Model, *, inputs: bool = True) -> Iterator[onnx.ModelProto]:
    """The model as protobuf without the weights of its main graph; the model itself is unchanged.

    With `inputs`, the weights are declared as inputs of the graph, and those up to a kilobyte (shapes, scales, axes)
    are kept.
    """
    weights = dict(model.graph.initializers)
    small = {
        name
        for name, value in weights.items()
        if inputs and value.const_value is not None and value.const_value.nbytes <= _LEAST_EXTERNAL
    }
    try:
        for name in weights.keys() - small:
            del model.graph.initializers[name]
        proto = ir.serde.serialize_model(model)
    finally:
        model.graph.initializers.clear()
        model.graph.initializers.update(weights)
    if inputs:
        given = {value.name for value in proto.graph.input}
        for name, value in weights.items():
            if name not in given and value.const_value is not None:
                tensor = value.const_value
                proto.graph.input.append(onnx.helper.make_tensor_value_info(name, tensor.dtype, tensor.shape.numpy()))
    yield proto


def _forget_inner_shapes(graph: onnx.GraphProto) -> None:
    """Remove all stated shapes but those of the graph's inputs."""
    for inner in _graph_protos(graph):
        for value in (*inner.value_info, *inner.output):
            value.type.tensor_type.ClearField("shape")


def _hold_resizes(proto: onnx.ModelProto) -> None:
    """Hide Upsample, and Resize, from ONNX's converter if they predate coordinates: it renames the former's outputs,
    and gives both the newer operator's default coordinates.
    """
    for graph in _graph_protos(proto.graph):
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
