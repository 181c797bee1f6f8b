"""What a report records of the model's file: its size, and the digest by which reports of one model are matched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.evaluate.model.runtimes import runtime_of
from pipelines.evaluate.model.weights import model_files, model_sha256


def model_facts(path: Path) -> dict[str, Any]:
    """`parameters` (None if they cannot be counted), `bytes` including external weights, and `sha256`."""
    size = sum(file.stat().st_size for file in model_files(path))
    return {"parameters": _parameters(path), "bytes": size, "sha256": model_sha256(path)}


def _parameters(path: Path) -> int | None:
    if runtime_of(path).NO_NOISE:  # no ONNX graph
        return None
    from generators.models.graph import ModelError  # imports onnx
    from generators.models.size import parameters

    try:
        return parameters(path)
    except ModelError:
        return None
