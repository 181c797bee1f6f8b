"""ONNX Runtime on the CPU, imported when it is first needed, with its own words kept off the terminal.

Refuses models that do not take one batch of colour images, and outputs that are not floats.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.text import first_line

_FLOATS: Mapping[str, type[np.floating[Any]]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}
# onnxruntime's ORT_LOGGING_LEVEL_FATAL: what goes wrong is raised as well.
_FATAL = 4


@dataclass(frozen=True)
class Input:
    """A model's one input: images of height x width; None where the model leaves a length open."""

    name: str
    dtype: type[np.floating[Any]]
    batch: int | None
    height: int | None
    width: int | None


class Session:
    """A model that is ready to run on `threads` CPUs, all that there are for None.

    Raises UsageError where ONNX Runtime is missing or cannot load the model, and where the input is not what `layout`
    (`nchw` or `nhwc`) says.
    """

    def __init__(self, model: Path, layout: str, threads: int | None) -> None:
        runtime = _onnxruntime()
        options = runtime.SessionOptions()
        options.log_severity_level = _FATAL
        options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
        self._name = model.name
        try:
            with _silence():
                self._session = runtime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no class of their own in common
            reason = first_line(error)
            raise UsageError(
                f"{model} is no ONNX model that ONNX Runtime {runtime.__version__} can load ({reason})"
            ) from None
        self.input = _input(model.name, self._session.get_inputs(), layout)
        for output in self._session.get_outputs():
            if output.type not in _FLOATS:
                raise UsageError(
                    f"{model.name}: its output {output.name} is {output.type}, not scores or boxes as floats: "
                    "predict with it yourself and give --predictions"
                )

    def run(self, images: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """The outputs for these images, as float32; a fixed batch is filled up, and the filling's outputs dropped."""
        batch = np.stack(images).astype(self.input.dtype)
        filling = (self.input.batch or len(images)) - len(images)
        if filling:
            batch = np.concatenate([batch, np.repeat(batch[-1:], filling, axis=0)])
        try:
            outputs = self._session.run(None, {self.input.name: batch})
        except Exception as error:  # as above
            shape = "x".join(map(str, batch.shape))
            raise UsageError(f"{self._name} failed on an input of {shape} ({first_line(error)})") from None
        return [np.asarray(out[: len(images)] if filling else out, np.float32) for out in outputs]


def version() -> str:
    """ONNX Runtime's version. Raises UsageError where it is missing."""
    return str(_onnxruntime().__version__)


def _onnxruntime() -> Any:
    try:
        with _silence():
            import onnxruntime
    except ImportError:
        raise UsageError("--model needs ONNX Runtime: pip install onnxruntime") from None
    return onnxruntime


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep stderr quiet: when imported, ONNX Runtime warns of GPUs that it cannot see, whatever its log level."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _input(model: str, inputs: Sequence[Any], layout: str) -> Input:
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _FLOATS:
        found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs) or "none"
        raise UsageError(f"{model} does not take one batch of images as floats; its inputs: {found}")
    (one,) = inputs
    lengths = [length if isinstance(length, int) and length > 0 else None for length in one.shape]
    channels = layout.index("c")
    if lengths[channels] not in (None, 3):
        other = "nhwc" if layout == "nchw" else "nchw"
        hint = f'give layout = "{other}"' if lengths[other.index("c")] == 3 else "it must take three channels"
        raise UsageError(f"{model} takes {one.shape}, which is not {layout} with three channels: {hint}")
    return Input(one.name, _FLOATS[one.type], lengths[0], lengths[layout.index("h")], lengths[layout.index("w")])
