"""The effect of a device's number formats: half precision, and 8-bit integers after training.

Owns `fp16`, `int8`, `int8_dynamic`, and the reasons why they do not apply; `half`, `planned` with `quantise`, and
`dynamic` do the work. All write plain ONNX operators, which any runtime can run, and keep the types of inputs and
outputs. Models that cannot be rewritten are refused, naming the node.

**Half precision.** The input, weights and every float tensor in between are rounded to the nearest half, ties to even,
whatever the runtime computes in: from 65520 on to infinity, up to 2**-25 to zero. Finite constants stay finite, at most
65504, as converters and TensorRT treat weights, and PyTorch masks (`torch.finfo(dtype).min`). Sums inside an operator
are as exact as the runtime makes them, as on devices that accumulate in single precision. The whole graph is rounded,
with the decoding of boxes, since a half-precision device computes everything that way. Inputs of shape computations
(the scales of a Resize, say) and operators' settings are not rounded, because they are never tensors on the device. The
nodes that `exact` finds are computed in single precision, and rounded where they meet others.

**8 bits.** The paper's equations 9 and 10, q = clip(round(x / s) + z, -128, 127) and x = s (q - z), with z = 0 and s =
max|x| / 127: the scale of TensorRT, of MQBench's page about it and of ONNX Runtime's quantiser, which does the work.
(The equations leave it open; MQBench's observer divides by 127.5.) Since the paper cites MQBench, the tensors are those
that its quantiser for TensorRT (`TRTModelQuantizer`) quantises: the weights of Conv, ConvTranspose, Gemm and MatMul,
with a scale per output channel; and with a scale per tensor, the inputs of these, of pooling, Resize and PRelu, of
additions of two tensors (except a layer's own output, to which the device adds in place), and of a BatchNormalization
that follows no layer. Biases, products of two tensors, softmax and everything else stay float, and so do tensors that
lead to no weighted layer. Boxes are therefore decoded in float: a common scale for coordinates and scores would zero
the scores. Weights of 0, 1, 2, ... turn a distribution into a distance, which is decoding as well.

In a language model, the tensors are those of MQBench's quantiser for them (`AcademicNLPQuantizer`): weights and their
inputs as above, both factors of a product of two tensors, and embedding tables, with a scale per row instead of per
channel. Sums stay float, since a few of their channels are a thousand times larger than the rest, and so do token
positions, masks and angles.

**8 bits, dynamic.** See `dynamic` for `int8_dynamic`: weights have 8 bits, and so do layers' inputs, each with its own
range at every run. A model's outputs therefore depend on the whole batch, including padding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from generators.models import Feed, dynamic, planned, quantise
from generators.models.graph import Change
from generators.models.half import round_to_half
from generators.models.layers import has_layers
from generators.models.opset import raise_opset
from generators.models.values import FLOATS, constants

# The session options for `int8` models. They keep scores independent of the CPU's integer kernels, some of which
# saturate, by running each QuantizeLinear and DequantizeLinear as it stands, and layers in single precision in between.
# A different last bit could still push a value to the next step, which small networks amplify, so no sum is reordered
# either: blocked layouts are as wide as the CPU's registers, and a fused addition starts its sum elsewhere. Results are
# bit for bit those of a session without optimisations, except for a last bit in Gemm.
SESSION_CONFIG: Mapping[str, str] = MappingProxyType(
    {
        "session.disable_quant_qdq": "1",
        "optimization.disable_specified_optimizers": "NchwcTransformer;ConvAddActivationFusion",
    }
)

_INTEGER = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger")
_HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def reason(model: ir.Model, token: str) -> str | None:
    """Why a method of this stage does not apply to a model, in a few words; None if it does."""
    model = _without_functions(model)
    if any(node.op_type in _INTEGER or node.op_type.startswith("QLinear") for node in model.graph.all_nodes()):
        return "it is quantised already"
    sizes = {True: 0, False: 0}
    for _, tensor in constants(model):
        if tensor.dtype in (*FLOATS, *_HALVES):
            sizes[tensor.dtype in _HALVES] += tensor.size
    if sizes[True] > sizes[False]:
        return "it is half precision already"
    if token != "fp16" and not has_layers(model):
        return "it has no layer with weights in single precision"
    return None


def fp16(model: ir.Model) -> list[Change]:
    """Round the input, weights and every float tensor to half precision, keeping their types.

    Weights are rounded when they are read, so large ones stay on disk. Operators whose results need rounding are
    followed by a Cast to half and one back, which no optimisation of ONNX Runtime removes. Raises ModelError.
    """
    if reason(model, "fp16"):
        return []
    _settle(model)
    return round_to_half(model)


def int8(model: ir.Model, feeds: Iterable[Feed], *, per_channel: bool = True) -> list[Change]:
    """Quantise weights and activations to 8 bits, with ranges from `feeds`: calibration inputs, read once.

    A range is the largest magnitude over all of them, in any order, rounded up to 8 significant bits. On one machine
    the result is always the same, bit for bit. On another machine it is too, unless the last bits of its float
    arithmetic push a range over such a number; its scale then differs by 1 part in 128 to 256. Of 256 ranges of four
    real networks, 168 differed between two of ONNX Runtime's convolution algorithms before rounding, and none after.
    With `per_channel=False`, weights have one scale per tensor.

    Raises ModelError, also for a tensor that is not finite, and OSError if the temporary folder has no room for the
    model.
    """
    if reason(model, "int8"):
        return []
    raise_opset(model, quantise.OPSET)
    _settle(model)
    plan = planned.plan(model, per_channel=per_channel)
    quantise.quantise(model, plan, quantise.ranges(model, plan.tensors, feeds))
    return plan.changes


def int8_dynamic(model: ir.Model) -> list[Change]:
    """Quantise weights to 8 bits, and layers' inputs at run time. Raises ModelError."""
    if reason(model, "int8_dynamic"):
        return []
    _settle(model)
    return dynamic.quantise(model)


def quantised(model: ir.Model, *, per_channel: bool = True) -> list[Change]:
    """The changes that `int8` would make; needs no feeds and leaves the model unchanged. Raises ModelError."""
    if reason(model, "int8"):
        return []
    return planned.plan(_without_functions(model), per_channel=per_channel).changes


def _without_functions(model: ir.Model) -> ir.Model:
    """The model or, if it has functions of its own, a copy with all calls inlined."""
    if not model.functions:
        return model
    other = model.clone()
    InlinePass()(other)
    return other


def _settle(model: ir.Model) -> None:
    """Inline functions, and remove initializers from the inputs, where IR versions before 4 have them."""
    if model.functions:
        InlinePass()(model)
    inputs = [value for value in model.graph.inputs if not value.is_initializer()]
    if len(inputs) < len(model.graph.inputs):
        model.graph.inputs[:] = inputs
        model.ir_version = max(model.ir_version, 4)
