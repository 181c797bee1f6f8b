"""Counts a model's parameters."""

from __future__ import annotations

import math
from pathlib import Path

import onnx_ir as ir

from generators.models import files
from generators.models.values import constants

# Types of shapes, axes and positions, which are not learned.
_INDICES = frozenset({ir.DataType.INT64, ir.DataType.STRING, ir.DataType.BOOL})


def parameters(path: Path) -> int:
    """The number of elements in all constant tensors of an ONNX model, without those of indices.

    Includes a quantised model's scales and zero points, and the buffers of training frameworks (the means and variances
    of batch norms that are not folded). Raises ModelError if the model cannot be read.
    """
    model = files.load(path)
    return sum(math.prod(t.shape.numpy()) for _, t in constants(model) if t.dtype not in _INDICES)
