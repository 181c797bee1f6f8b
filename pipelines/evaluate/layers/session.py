"""Runs a model with any input and output tensors in ONNX Runtime, with the same results on every CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generators.models.precision import SESSION_CONFIG
from pipelines.errors import UsageError
from pipelines.evaluate.model.runtimes.onnx import imported, session_options
from pipelines.text import first_line

Array = NDArray[np.generic]


class TapSession:
    """A loaded model, which several threads may run at once; `name` is its name in errors.

    All models run with the session configuration of int8, so that what two of them have in common is computed alike,
    bit for bit.
    """

    def __init__(self, path: Path, name: str) -> None:
        onnxruntime = imported()
        options = session_options(onnxruntime, SESSION_CONFIG)
        self._name = name
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base class
            raise UsageError(f"{name} cannot be loaded with its tensors as outputs ({first_line(error)})") from None
        self._running = onnxruntime.RunOptions()
        self._inputs = [one.name for one in self._session.get_inputs()]

    def run(self, batch: Array, given: Mapping[str, Array] = MappingProxyType({})) -> list[Array]:
        """The outputs, in the model's order; inputs that are not `given` by name are the batch of images."""
        try:
            found: Sequence[Any] = self._session.run(
                None, {name: given.get(name, batch) for name in self._inputs}, self._running
            )
        except Exception as error:
            raise UsageError(f"{self._name} failed with its tensors as outputs ({first_line(error)})") from None
        return list(found)

    def stop(self) -> None:
        """End runs in other threads, and refuse new ones."""
        self._running.terminate = True
