"""Noise inside a model: an ONNX model in, an ONNX model out.

Each module has the passes of one stage, and imports onnx; nothing else here does.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any, TypeAlias

from numpy.typing import NDArray

# What a model is given: an array for its one input, or one for each of its inputs by name.
Feed: TypeAlias = NDArray[Any] | Mapping[str, NDArray[Any]]


def versions() -> dict[str, str]:
    """What rewrites models, and what finds their ranges."""
    names = {"ONNX": "onnx", "ONNX/onnx-ir": "onnx-ir"}
    try:
        return {name: importlib.metadata.version(distribution) for name, distribution in names.items()}
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError(str(error)) from None
