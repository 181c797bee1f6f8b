"""Quantises a model to 8 bits after training: calibrates ranges, and has ONNX Runtime's quantiser do what is planned.

See `precision` for the method. Refuses tensors without a finite range, and unnamed arrays for a model of several
inputs. Imports onnxruntime only when it is used.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from generators.models import Feed, files
from generators.models.graph import ModelError, first_line
from generators.models.layers import weights_of
from generators.models.planned import Plan
from generators.models.values import Names, shape_of

# The first opset in which DequantizeLinear takes a scale per channel.
OPSET = 13


def ranges(model: ir.Model, tensors: Collection[ir.Value], feeds: Iterable[Feed]) -> dict[str, np.float32]:
    """The largest magnitude of each tensor over all feeds, rounded up to 8 significant bits, by name.

    Holds one feed at a time, and as little of what the model computes as the runtime needs. Raises ModelError.
    """
    names = [str(value.name) for value in tensors]
    with tempfile.TemporaryDirectory(prefix="sysnoise-") as folder:
        path = Path(folder) / "ranges.onnx"
        files.save(_range_model(model, names), path)
        found = dict(zip(names, _outward(_largest(path, len(names), feeds)), strict=True))
    for name, value in found.items():
        if not np.isfinite(value):
            raise ModelError(
                f"{name} is infinite or NaN on a calibration input, so int8 has no range for it: look at what the "
                "model computes there"
            )
    return found


def _range_model(model: ir.Model, tensors: Iterable[str]) -> ir.Model:
    """A model that outputs the minimum, maximum and sum of each tensor.

    The sum detects NaN, which the runtime's minimum and maximum may ignore.
    """
    found = model.clone()
    values = ir.convenience.create_value_mapping(found.graph)
    names = Names(model)
    found.graph.outputs.clear()
    for tensor in tensors:
        for operator in ("ReduceMin", "ReduceMax", "ReduceSum"):
            node = ir.node(operator, [values[tensor]], {"keepdims": 0}, name=names.new(f"{tensor}_{operator}"))
            (output,) = node.outputs
            output.name, output.type, output.shape = node.name, ir.TensorType(ir.DataType.FLOAT), ir.Shape([])
            found.graph.append(node)
            found.graph.outputs.append(output)
    RemoveUnusedNodesPass()(found)
    return found


def _largest(path: Path, count: int, feeds: Iterable[Feed]) -> NDArray[np.float32]:
    """Run a range model with one thread and no optimisations, to depend on the machine as little as possible."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # ORT_LOGGING_LEVEL_FATAL: errors are raised anyway
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base class
        raise ModelError(f"the model cannot be run to take ranges for int8 ({first_line(error)})") from None
    taken = [one.name for one in session.get_inputs()]
    largest, number = np.zeros(count, np.float32), 0
    for number, feed in enumerate(feeds, 1):
        given = _named(feed, taken)
        try:
            outputs = session.run(None, given)
        except Exception as error:  # as above
            raise ModelError(f"the model failed on calibration input {number} ({first_line(error)})") from None
        found = np.array(outputs, np.float32).reshape(count, 3)
        largest = np.maximum(largest, np.abs(found[:, :2]).max(axis=1))  # keeps NaN
        largest[np.isnan(found[:, 2])] = np.nan
    if not number:
        raise ModelError("int8 takes its ranges from calibration inputs, and there are none: give --calibration N")
    return largest


def _named(feed: Feed, inputs: Sequence[str]) -> Mapping[str, NDArray[Any]]:
    if isinstance(feed, Mapping):
        return feed
    if len(inputs) != 1:
        raise ModelError(f"int8 has images for one input, and the model has {len(inputs)} ({', '.join(inputs)})")
    return {inputs[0]: feed}


def _outward(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round away from zero to numbers with 8 significant bits."""
    fractions, exponents = np.frexp(values)
    with np.errstate(over="ignore"):
        rounded: NDArray[np.float32] = np.ldexp(np.ceil(fractions * np.float32(256)), exponents - 8)
    return rounded


def quantise(model: ir.Model, planned: Plan, found: Mapping[str, np.float32]) -> None:
    """Have ONNX Runtime's quantiser apply a plan to the model, with these ranges.

    The quantiser gets only the data of the weights that it quantises, so no more than that is held in memory.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import TensorData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    weights = _own_weights(model, planned)
    kept = {name: value.const_value for name, value in model.graph.initializers.items() if name not in weights}
    quantiser = QDQQuantizer(
        _shown(model, weights, found),
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range={name: TensorData(lowest=-value, highest=value) for name, value in found.items()},
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=[],  # nothing by its own rules, which differ from the plan
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True},
    )
    for name, axis in weights.items():
        if axis is None:
            quantiser.quantize_weight_tensor(name)
        else:
            quantiser.quantize_weight_tensor_per_channel(name, axis)
    for name in found:
        quantiser.quantize_activation_tensor(name)
    made = ir.from_proto(quantiser.quantize_model()).graph
    for name, tensor in kept.items():
        if name in made.initializers:
            made.initializers[name].const_value = tensor
    _detach(made)
    made.sort()
    model.graph = made


def _detach(made: ir.Graph) -> None:
    """Copy tensors that are parts of a protobuf message: any one of them would keep the whole message in memory."""
    for part in (made, *made.subgraphs()):
        for value in part.initializers.values():
            if isinstance(value.const_value, ir.TensorProtoTensor):
                value.const_value = _copy(value.const_value)
    for node in made.all_nodes():
        for attribute in list(node.attributes.values()):
            if isinstance(attribute.value, ir.TensorProtoTensor):
                node.attributes.add(ir.AttrTensor(attribute.name, _copy(attribute.value)))


def _copy(tensor: ir.TensorProtoTensor) -> ir.Tensor[NDArray[Any]]:
    return ir.Tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=tensor.name)


def _own_weights(model: ir.Model, planned: Plan) -> dict[str, int | None]:
    """The axis to quantise along, by initializer: each combination of weights and axis gets its own initializer."""
    found: dict[str, int | None] = {}
    names = Names(model)
    for (value, axis), nodes in planned.weights.items():
        name = str(value.name)
        if not value.is_initializer() or name in found or not {user for user, _ in value.uses()}.issubset(nodes):
            name = names.new(f"{value.name}_weights")
            _give_own(model, nodes, value, name)
        found[name] = axis
    return found


def _give_own(model: ir.Model, nodes: Iterable[ir.Node], value: ir.Value, name: str) -> None:
    """Give nodes their own copy of weights that others need unquantised, or that are a node's output."""
    tensor, made_by = weights_of(value), value.producer()
    assert tensor is not None
    own = ir.Value(name=name, const_value=ir.Tensor(tensor.numpy(), name=name))
    model.graph.register_initializer(own)
    for node in nodes:
        node.replace_input_with(node.inputs.index(value), own)
    if made_by is not None and made_by.graph is not None and not value.uses():
        made_by.graph.remove(made_by, safe=True)


def _shown(model: ir.Model, weights: Collection[str], tensors: Iterable[str]) -> onnx.ModelProto:
    """A model reduced to what the quantiser needs: the data of `weights` and the types of `tensors`.

    It is marked as having shapes inferred by ONNX Runtime, which would otherwise write the whole model to disk for it.
    """
    found = model.clone()
    for name, value in found.graph.initializers.items():
        tensor = value.const_value
        if tensor is None or tensor.dtype == ir.DataType.STRING:
            continue
        if name in weights:
            value.const_value = ir.Tensor(tensor.numpy(), name=name)
        else:
            value.const_value = ir.ExternalTensor(
                "elsewhere", 0, tensor.nbytes, tensor.dtype, shape=shape_of(tensor), name=name
            )
    values = ir.convenience.create_value_mapping(found.graph)
    for name in tensors:
        values[name].type = ir.TensorType(ir.DataType.FLOAT)
    found.metadata_props["onnx.infer"] = "onnxruntime.quant"
    return ir.to_proto(found)
