"""Upsampling noise: replaces the method by which a model enlarges its tensors.

Training frameworks interpolate, and devices do what their hardware can. The three methods are those of torch's
`F.interpolate`, for Resize and the older Upsample, with scales or sizes:

- bilinear, half-pixel (`align_corners=False`, SegFormer): ONNX's linear with `half_pixel`. ONNX's `pytorch_half_pixel`
  differs only if a length shrinks to one;
- bilinear, corners aligned (`align_corners=True`, United-Perception's FPN): linear with `align_corners`;
- nearest: nearest with `asymmetric` and `floor`. If an output pixel falls exactly on the edge of an input pixel and the
  ratio of the sizes is not an integer, torch multiplies by a rounded ratio and ONNX Runtime divides by one: for 15 of
  591 pairs of sizes tried (30 to 32 is one) some pixels are taken from a neighbour.

The output size is unchanged. Nodes that already have the method are left alone and not counted; cubic interpolation is
replaced too. Neither a node that makes a tensor smaller in any direction nor ConvTranspose counts as upsampling. If a
size is known only when the model runs, several inputs are tried; if they do not determine it, the node is assumed to
enlarge, as networks' Resizes do. Refuses `tf_crop_and_resize`, which also crops.
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
)
from generators.models.opset import raise_opset
from generators.models.shapes import Inference, infer, open_lengths

# The first opset with coordinates, and that of Resize's last form before opset 18, which all runtimes support.
_COORDINATES_OPSET, _COMMON_OPSET = 11, 13
# Input lengths to try: a multiple of 32, and an odd one.
_TRIED = (320, 333)
# Resize's attributes for how pixels are computed, and their defaults.
_DEFAULTS: Mapping[str, str] = MappingProxyType(
    {"mode": "nearest", "coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_floor"}
)
# Attributes that only other methods use.
_FOREIGN = ("antialias", "cubic_coeff_a", "exclude_outside", "extrapolation_value", "nearest_mode")


def upsample_bilinear(model: ir.Model) -> list[Change]:
    """Interpolate linearly between pixel centres. Raises ModelError."""
    return _replace(model, {"mode": "linear", "coordinate_transformation_mode": "half_pixel"})


def upsample_bilinear_corners(model: ir.Model) -> list[Change]:
    """Interpolate linearly, aligning the corner pixels of both sizes. Raises ModelError."""
    return _replace(model, {"mode": "linear", "coordinate_transformation_mode": "align_corners"})


def upsample_nearest(model: ir.Model) -> list[Change]:
    """Repeat pixels. Raises ModelError."""
    asymmetric = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return _replace(model, asymmetric)


def reason(model: ir.Model) -> str:
    """Why a method that changed nothing in a model does not apply to it."""
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
    """How a node computes its pixels; before opset 11, coordinates are fixed."""
    if old:
        named = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return {"mode": attribute(node, "mode", "nearest"), **named}
    return {name: attribute(node, name, default) for name, default in _DEFAULTS.items()}


def _has(found: Mapping[str, str], method: Mapping[str, str]) -> bool:
    """Whether two methods give the same pixels when a tensor is enlarged."""
    coordinates = found["coordinate_transformation_mode"].replace("pytorch_half_pixel", "half_pixel")
    return all(
        {**found, "coordinate_transformation_mode": coordinates}[name] == value for name, value in method.items()
    )


def _enlarging(model: ir.Model) -> list[ir.Node]:
    """The nodes that make a tensor larger, as far as this is known before the model runs."""
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
    """Whether some lengths grow and none shrinks; None if all stay, since the size may equal the input's by chance."""
    return None if all(ratio == 1 for ratio in ratios) else min(ratios) >= 1


def _ratios(node: ir.Node, found: Inference) -> list[float] | None:
    """The factor by which each axis grows; None if unknown."""
    scales = attribute(node, "scales", None)
    if scales is None:
        # The index of Upsample's and of Resize's scales was 1 before roi was inserted.
        scales = found.array(node.inputs[min(2, len(node.inputs) - 1)]) if len(node.inputs) in (2, 3) else None
    if scales is not None and len(scales):
        return [float(scale) for scale in scales]
    before, after = found.known(node.inputs[0]), found.known(node.outputs[0])
    if before is None or after is None or len(before) != len(after) or not all(before):
        return None
    return [new / old for old, new in zip(before, after, strict=True)]
