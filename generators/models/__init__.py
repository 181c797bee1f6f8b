"""Model noise: an ONNX model in, an ONNX model out.

Each module has the passes of one stage, or what they share. Only this package imports onnx.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any, TypeAlias

from numpy.typing import NDArray

# A model's input: an array if it has just one, or arrays by the names of its inputs.
Feed: TypeAlias = NDArray[Any] | Mapping[str, NDArray[Any]]


def versions() -> dict[str, str]:
    """The packages that rewrite models."""
    names = {"ONNX": "onnx", "ONNX/onnx-ir": "onnx-ir"}
    try:
        return {name: importlib.metadata.version(distribution) for name, distribution in names.items()}
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError(str(error)) from None
