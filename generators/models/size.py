"""How large a model is: what it has learned, counted."""

from __future__ import annotations

import math
from pathlib import Path

import onnx_ir as ir

from generators.models import graph
from generators.models.values import constants

# What says shapes, axes and places; nothing is learned in them.
_INDICES = frozenset({ir.DataType.INT64, ir.DataType.STRING, ir.DataType.BOOL})


def parameters(path: Path) -> int:
    """The elements of all constant tensors of an ONNX model, but those of indices.

    A quantised model's scales and zero points count, and so do what a training framework calls buffers (the means and
    variances of batch norms that are not folded). Raises ModelError where the model cannot be read.
    """
    model = graph.load(path)
    return sum(math.prod(t.shape.numpy()) for _, t in constants(model) if t.dtype not in _INDICES)
