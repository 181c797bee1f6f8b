"""Reads and writes model files, without holding large weights in memory twice.

Refuses files that are not ONNX models or that ONNX's checker refuses, sparse weights (onnx_ir drops them), and weights
outside the model's folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import onnx
import onnx.checker
import onnx_ir as ir

from generators.models.graph import ModelError, first_line

# Protobuf's limit, 2^31 - 1, minus room for the lengths of messages.
_MOST_EMBEDDED = 2**31 - 2**20
# onnx.save_model's size_threshold, in bytes: smaller tensors stay in the model's file.
_LEAST_EXTERNAL = 1024
# onnx.proto: the tags of ModelProto.graph (7) and GraphProto.initializer (5), both length-prefixed messages.
_GRAPH, _INITIALIZER = b"\x3a", b"\x2a"


def load(path: Path) -> ir.Model:
    """Read a model; external weights stay on disk until they are needed. Raises ModelError."""
    path = Path(os.path.abspath(path))
    try:
        model = ir.serde.deserialize_model(_parse(path.read_bytes()))
        _bind_weights(model, path.parent)
        with skeleton(model) as proto:
            onnx.checker.check_model(proto)
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


@contextlib.contextmanager
def skeleton(model: ir.Model, *, inputs: bool = True) -> Iterator[onnx.ModelProto]:
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


def graph_protos(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all graphs inside its nodes."""
    yield graph
    for node in graph.node:
        for given in node.attribute:
            for inner in (*([given.g] if given.HasField("g") else []), *given.graphs):
                yield from graph_protos(inner)


def _parse(data: bytes) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    proto.ParseFromString(data)
    if not (proto.HasField("graph") and proto.opset_import and proto.graph.output):
        raise ValueError("it contains no graph")
    if any(graph.sparse_initializer for graph in graph_protos(proto.graph)):
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
            f"its weights are outside its folder ({os.fspath(tensor.location)!r}): put the file, not a link, next to it"
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
    with skeleton(model, inputs=False) as proto:
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
