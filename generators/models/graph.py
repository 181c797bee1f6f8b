"""What all passes over a model share: how a model is read and written, and what a pass says that it changed.

A pass takes an `onnx_ir.Model`, changes it in place and returns a `Change` for each node that it changed; none means
that the noise does not apply to the model. What cannot be rewritten is refused by the name of the node.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import onnx_ir as ir


class ModelError(ValueError):
    """A model cannot be read, written or rewritten; the message is one line that names the node and says what to do."""


class Change(NamedTuple):
    """One node that was changed: its name (its first output's where it has none), operator, and what became of it."""

    node: str
    operator: str
    what: str


def load(path: Path) -> ir.Model:
    """A model whose large weights stay on disk until they are needed. Raises ModelError."""
    return ir.load(path)


def save(model: ir.Model, path: Path) -> None:
    """Write a model that any runtime can read, the same bytes for the same model. Raises OSError."""
    ir.save(model, path)


def raise_opset(model: ir.Model, version: int) -> None:
    """Convert a model to at least this version of ONNX's operators. Raises ModelError."""
    raise NotImplementedError
