"""A model that takes and puts out any tensors, in ONNX Runtime, alike on every CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generators.models.precision import SESSION_CONFIG
from pipelines.errors import UsageError
from pipelines.text import first_line

Array = NDArray[np.generic]
# onnxruntime's ORT_LOGGING_LEVEL_FATAL: what goes wrong is raised as well.
_FATAL = 4


class TapSession:
    """A model's file that is ready to run, in as many threads at a time as call it.

    All are run as 8 bits are: so what two models compute alike is the same in both, bit for bit. `name` is what a
    model that fails is called.
    """

    def __init__(self, path: Path, name: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL
        options.intra_op_num_threads = 1
        for key, value in SESSION_CONFIG.items():
            options.add_session_config_entry(key, value)
        self._name = name
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no class of their own in common
            raise UsageError(f"{name} cannot be loaded with its tensors put out ({first_line(error)})") from None
        self._running = onnxruntime.RunOptions()
        self._inputs = [one.name for one in self._session.get_inputs()]

    def run(self, batch: Array, given: Mapping[str, Array] = MappingProxyType({})) -> list[Array]:
        """The outputs, in their order, of inputs that are given by name; one that is not takes the images."""
        try:
            found: Sequence[Any] = self._session.run(
                None, {name: given.get(name, batch) for name in self._inputs}, self._running
            )
        except Exception as error:  # as above
            raise UsageError(f"{self._name} failed with its tensors put out ({first_line(error)})") from None
        return list(found)

    def stop(self) -> None:
        """End what is running in other threads; nothing can be run any more."""
        self._running.terminate = True
