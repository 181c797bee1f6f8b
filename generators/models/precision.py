"""What a device's number formats do to a model: half precision, and 8-bit integers after training.

Owns `fp16`, `int8`, `int8_dynamic`, and the reasons why they do not apply; `half`, `planned` with `quantise`, and
`dynamic` do the work. All write plain ONNX operators, which any runtime runs, and leave the types of inputs and outputs
as they are. Refuses, by name, what they cannot rewrite.

**Half precision.** The input, weights and each float tensor in between are rounded to the nearest half, ties to even,
whatever the runtime computes in: from 65520 they become infinite, up to 2**-25 zero. Constants that are finite stay so,
at most 65504, as converters and TensorRT have weights, and PyTorch masks (`torch.finfo(dtype).min`). Sums inside an
operator are as exact as the runtime makes them, as on devices that accumulate in single precision. All of the graph is
rounded, decoding of boxes included, since a device that runs halves runs them everywhere. What shapes are computed from
(the scales of a Resize, say) and an operator's settings are not: they never are tensors on the device. What `exact`
finds is computed in single precision, and rounded where it meets what is not.

**8 bits.** The paper's equations 9 and 10, q = clip(round(x / s) + z, -128, 127) and x = s (q - z), with z = 0 and s =
max|x| / 127: the scale of TensorRT, of MQBench's page on it and of ONNX Runtime's quantiser, which does the work. (The
equations leave it open; MQBench's observer divides by 127.5.) What is quantised is what MQBench's quantiser for
TensorRT takes (`TRTModelQuantizer`), since the paper cites MQBench. That is the weights of Conv, ConvTranspose, Gemm
and MatMul, with a scale for each output channel; and with one scale a tensor, what goes into these, into pooling,
Resize and PRelu, into additions of two tensors (but for a layer's own output, which the device adds to in place), and
into a BatchNormalization that follows no layer. Biases, products of two tensors, softmax and all else stay float. So
does what leads to no weighted layer, which is how boxes are decoded in float: one scale for coordinates and scores
would zero the scores. Weights of 0, 1, 2, ... make a distance of a distribution, which is decoding as well.

Of a language model, it is what MQBench's quantiser for such takes (`AcademicNLPQuantizer`): weights and what goes into
them as above, both factors of a product of two tensors, and the tables of embeddings, with a scale for each row where
channels have one. Sums stay float, since a few channels of them are a thousand times as large as the rest; and so does
where tokens stand, masks and angles.

**8 bits, dynamic.** What `int8_dynamic` does is said in `dynamic`: weights are 8 bits, and so is what they are applied
to, by its own range at each run. So what a model puts out depends on all that it is given at once, padding included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from generators.models import Feed, dynamic, graph, planned, quantise
from generators.models.graph import Change
from generators.models.half import round_to_half
from generators.models.layers import has_layers
from generators.models.values import FLOATS, constants

# How ONNX Runtime is to run what `int8` made, so that scores do not depend on the CPU's integer kernels, some of which
# saturate: each QuantizeLinear and DequantizeLinear as it stands, and layers in single precision between them. There a
# last bit may still tip a value over to the next step, of which small networks make much, so no sum is reordered
# either: layouts in blocks are as wide as the CPU's registers, and a fused addition starts its sum elsewhere. Results
# are, bit for bit, those of a session that optimises nothing, but for a last bit in Gemm.
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
    """Round the input, weights and every float tensor to half precision, with values in the types that they had.

    Weights are rounded when they are read, so large ones stay on disk. Behind each operator whose results need it stand
    a Cast to half and one back, which no optimisation of ONNX Runtime removes. Raises ModelError.
    """
    if reason(model, "fp16"):
        return []
    _settle(model)
    return round_to_half(model)


def int8(model: ir.Model, feeds: Iterable[Feed], *, per_channel: bool = True) -> list[Change]:
    """Quantise weights and activations to 8 bits, with ranges from `feeds`: what the model is given, read once.

    A range is the largest magnitude on any of them, whatever their order, rounded up to 8 significant bits. On one
    machine the result is always the same, bit for bit. On another it is too, unless the last bits of its float
    arithmetic put a range on the other side of such a number, and its scale then differs by 1 part in 128 to 256: of
    256 ranges of four real networks, 168 differed between two of ONNX Runtime's ways to convolve before they were
    rounded, and none after. With `per_channel=False`, weights have one scale a tensor.

    Raises ModelError, also for a tensor that is not finite, and OSError where the temporary folder has no room for the
    model.
    """
    if reason(model, "int8"):
        return []
    graph.raise_opset(model, quantise.OPSET)
    _settle(model)
    plan = planned.plan(model, per_channel=per_channel)
    quantise.quantise(model, plan, quantise.ranges(model, plan.tensors, feeds))
    return plan.changes


def int8_dynamic(model: ir.Model) -> list[Change]:
    """Quantise weights to 8 bits, and what they are applied to as it comes. Raises ModelError."""
    if reason(model, "int8_dynamic"):
        return []
    _settle(model)
    return dynamic.quantise(model)


def quantised(model: ir.Model, *, per_channel: bool = True) -> list[Change]:
    """What `int8` would change, without feeds and with the model left as it is. Raises ModelError."""
    if reason(model, "int8"):
        return []
    return planned.plan(_without_functions(model), per_channel=per_channel).changes


def _without_functions(model: ir.Model) -> ir.Model:
    """The model, or where it has functions of its own, another with these put in the places where they are called."""
    if not model.functions:
        return model
    other = model.clone()
    InlinePass()(other)
    return other


def _settle(model: ir.Model) -> None:
    """Inline functions, and take initializers off the inputs, where they stood before IR version 4."""
    if model.functions:
        InlinePass()(model)
    inputs = [value for value in model.graph.inputs if not value.is_initializer()]
    if len(inputs) < len(model.graph.inputs):
        model.graph.inputs[:] = inputs
        model.ir_version = max(model.ir_version, 4)
