"""What a report says of the model's file: how large it is, and its digest, by which two reports are of one model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.evaluate.model.runtimes import runtime_of
from pipelines.evaluate.model.weights import model_files, model_sha256


def model_facts(path: Path) -> dict[str, Any]:
    """`parameters` (None where they cannot be counted), `bytes` with those of weights beside it, and `sha256`."""
    size = sum(file.stat().st_size for file in model_files(path))
    return {"parameters": _parameters(path), "bytes": size, "sha256": model_sha256(path)}


def _parameters(path: Path) -> int | None:
    if runtime_of(path).NO_NOISE:  # no ONNX graph
        return None
    from generators.models.graph import ModelError  # which imports onnx
    from generators.models.size import parameters

    try:
        return parameters(path)
    except ModelError:
        return None
