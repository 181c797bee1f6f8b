"""The windows of pools, and the padding with which they equal those of torch's ceil mode."""

from __future__ import annotations

import onnx_ir as ir

from generators.models.graph import ModelError, attribute, name_of


class Axis:
    """The windows of a pool along one axis."""

    def __init__(self, kernel: int, stride: int, dilation: int, begin: int, end: int, ceil: bool) -> None:
        self.kernel, self.stride = kernel, stride
        self.begin, self.end = begin, end
        self.span = dilation * (kernel - 1) + 1
        self.ceil = ceil

    def ceil_end(self, outer: int = 0) -> int:
        """The end padding with which rounding down gives the windows of torch's ceil mode.

        torch (aten/src/ATen/native/Pool.h, pooling_output_shape) rounds up, but drops a last window that would start in
        the end padding: the windows are those that start before it, as far as the padded end. `outer` is the padding
        that an earlier node has added.
        """
        return min(self.end + outer + self.stride - 1, self.span - 1) - outer

    def count(self, length: int) -> int:
        """The number of windows for an input of this length."""
        return (length + self.begin + (self.ceil_end() if self.ceil else self.end) - self.span) // self.stride + 1


def pool_window(node: ir.Node) -> list[Axis] | None:
    """The windows of a MaxPool or AveragePool, for each spatial axis; None if `auto_pad` is SAME.

    SAME has an output of ceil(length / stride) in any ceil mode. Raises ModelError for impossible windows.
    """
    if attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID") or "kernel_shape" not in node.attributes:
        return None
    kernel = node.attributes["kernel_shape"].as_ints()
    rank = len(kernel)
    strides = attribute(node, "strides", [1] * rank)
    dilations = attribute(node, "dilations", [1] * rank)
    pads = attribute(node, "pads", [0] * 2 * rank)
    if attribute(node, "auto_pad", "NOTSET") == "VALID":
        pads = [0] * 2 * rank
    if not len(strides) == len(dilations) == len(pads) / 2 == rank or min(*kernel, *strides, *dilations) < 1:
        raise ModelError(f"{node.op_type} {name_of(node)!r} has strides, dilations or pads that do not fit its windows")
    ceil = bool(attribute(node, "ceil_mode", 0))
    return [Axis(*numbers, ceil) for numbers in zip(kernel, strides, dilations, pads[:rank], pads[rank:], strict=True)]
