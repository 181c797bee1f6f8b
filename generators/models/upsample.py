"""Upsampling noise: the method by which a model enlarges its tensors, replaced by another.

Training frameworks interpolate, and devices do what their hardware can. The three methods are those of torch's
`F.interpolate`, for Resize and the older Upsample, whether they are told scales or sizes:

- bilinear, half-pixel (`align_corners=False`, SegFormer): ONNX's linear with `half_pixel`. ONNX has
  `pytorch_half_pixel` besides, which differs only where a length shrinks to one;
- bilinear, corners aligned (`align_corners=True`, United-Perception's FPN): linear with `align_corners`;
- nearest: nearest with `asymmetric` and `floor`. Where an output pixel falls on an input pixel's very edge and the
  ratio of the sizes is no whole number, torch multiplies by a rounded ratio and ONNX Runtime divides by one: for 15 of
  591 pairs of sizes tried (30 to 32 is one) they take neighbouring pixels here and there.

The size of what comes out stays. A node that has the method already is left, and counts for nothing; cubic
interpolation is replaced as well. What makes a tensor smaller in any direction is no upsampling, nor is ConvTranspose.
Where a size is known only when the model runs, several inputs are tried; a node of which they tell nothing is taken
to enlarge, as the Resize of a network is. Refused is `tf_crop_and_resize`, which cuts out a part as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import onnx_ir as ir

from generators.models.graph import (
    Change,
    ModelError,
    attribute,
    inline_functions,
    name_of,
    operators,
    raise_opset,
)
from generators.models.shapes import Inference, infer, open_lengths

# The first opset with coordinates, and that of the last new form of Resize before opset 18, which all runtimes know.
_COORDINATES_OPSET, _COMMON_OPSET = 11, 13
# Inputs that models take: a multiple of 32, and an odd one.
_TRIED = (320, 333)
# Resize's attributes that say how pixels are computed, and their defaults.
_DEFAULTS: Mapping[str, str] = MappingProxyType(
    {"mode": "nearest", "coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_floor"}
)
# Those that belong to other methods than these three.
_FOREIGN = ("antialias", "cubic_coeff_a", "exclude_outside", "extrapolation_value", "nearest_mode")


def upsample_bilinear(model: ir.Model) -> list[Change]:
    """Interpolate linearly between the centres of pixels. Raises ModelError."""
    return _replace(model, {"mode": "linear", "coordinate_transformation_mode": "half_pixel"})


def upsample_bilinear_corners(model: ir.Model) -> list[Change]:
    """Interpolate linearly, with the corner pixels of both sizes on one another. Raises ModelError."""
    return _replace(model, {"mode": "linear", "coordinate_transformation_mode": "align_corners"})


def upsample_nearest(model: ir.Model) -> list[Change]:
    """Repeat pixels. Raises ModelError."""
    asymmetric = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return _replace(model, asymmetric)


def reason(model: ir.Model) -> str:
    """Why a method that changes nothing in a model does not apply to it."""
    return "it upsamples so already" if _enlarging(model) else "it has no upsampling"


def _replace(model: ir.Model, method: Mapping[str, str]) -> list[Change]:
    inline_functions(model, "Resize", "Upsample")
    old = model.opset_imports.get("", 0) < _COORDINATES_OPSET
    names = {node.outputs[0].name for node in _enlarging(model) if not _has(_method(node, old), method)}
    if not names:
        return []
    if old:
        raise_opset(model, _COMMON_OPSET)
    return [_set(node, method) for node in operators(model, "Resize") if node.outputs[0].name in names]


def _set(node: ir.Node, method: Mapping[str, str]) -> Change:
    before = _method(node, False)
    if before["coordinate_transformation_mode"] == "tf_crop_and_resize":
        raise ModelError(
            f"Resize {name_of(node)!r} cuts out a part of its input as well: export it with Slice and Resize"
        )
    for name in _FOREIGN:
        node.attributes.pop(name, None)
    for name, value in method.items():
        node.attributes.add(ir.AttrString(name, value))
    return Change(name_of(node), "Resize", f"{_words(before)} to {_words(method)}")


def _words(method: Mapping[str, str]) -> str:
    return " ".join(value for name, value in method.items() if method["mode"] == "nearest" or name != "nearest_mode")


def _method(node: ir.Node, old: bool) -> dict[str, str]:
    """How a node computes its pixels, which before opset 11 it cannot say."""
    if old:
        named = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return {"mode": attribute(node, "mode", "nearest"), **named}
    return {name: attribute(node, name, default) for name, default in _DEFAULTS.items()}


def _has(found: Mapping[str, str], method: Mapping[str, str]) -> bool:
    """Whether two methods are the same where a tensor is enlarged."""
    coordinates = found["coordinate_transformation_mode"].replace("pytorch_half_pixel", "half_pixel")
    return all(
        {**found, "coordinate_transformation_mode": coordinates}[name] == value for name, value in method.items()
    )


def _enlarging(model: ir.Model) -> list[ir.Node]:
    """The nodes that make a tensor larger, as far as it can be known before it runs."""
    nodes = operators(model, "Resize", "Upsample")
    if not nodes:
        return []
    found = [infer(model, size) for size in (_TRIED if open_lengths(model) else (None,))]
    return [node for node in nodes if _enlarges(node, found)]


def _enlarges(node: ir.Node, found: Sequence[Inference]) -> bool:
    verdicts = {
        verdict for each in found if (ratios := _ratios(node, each)) and (verdict := _verdict(ratios)) is not None
    }
    return verdicts == {True} or not verdicts


def _verdict(ratios: Sequence[float]) -> bool | None:
    """Whether lengths grow, and none shrinks; None where all stay, as with a size that happens to be the input's."""
    return None if all(ratio == 1 for ratio in ratios) else min(ratios) >= 1


def _ratios(node: ir.Node, found: Inference) -> list[float] | None:
    """How much longer each axis gets; None where it is not known."""
    scales = attribute(node, "scales", None)
    if scales is None:
        # Upsample and Resize had their scales at 1 before roi came between.
        scales = found.array(node.inputs[min(2, len(node.inputs) - 1)]) if len(node.inputs) in (2, 3) else None
    if scales is not None and len(scales):
        return [float(scale) for scale in scales]
    before, after = found.known(node.inputs[0]), found.known(node.outputs[0])
    if before is None or after is None or len(before) != len(after) or not all(before):
        return None
    return [new / old for old, new in zip(before, after, strict=True)]
