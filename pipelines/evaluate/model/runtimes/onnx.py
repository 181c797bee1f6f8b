"""ONNX Runtime on a CPU or a GPU, imported when first needed, with its own messages kept off the terminal.

Refuses models without a numeric output; other outputs, such as the dictionaries of probabilities that scikit-learn's
converters make, are not read.
"""

from __future__ import annotations

import contextlib
import functools
import io
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.evaluate.model.cells import Noised
from pipelines.evaluate.model.runtimes import Input, Outputs, check_channels
from pipelines.evaluate.model.runtimes.quiet import silence
from pipelines.text import first_line

_FLOATS: Mapping[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}
_NUMBERS: Mapping[str, Any] = {
    **_FLOATS,
    **{f"tensor({sign}int{bits})": np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# TF32 rounds factors to 10 bits, on GPUs that have it. By default cuDNN's algorithms are chosen by timing them.
_PROVIDERS: Mapping[str, Sequence[Any]] = {
    "cpu": [_CPU],
    "cuda": [(_CUDA, {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}), _CPU],
}
NO_NOISE = ""
# Runs at a time on a GPU: one computes while the next one's images are copied.
_ON_GPU = 2
# onnxruntime's ORT_LOGGING_LEVEL_FATAL: errors are raised as well as logged.
_FATAL = 4


class OnnxSession:
    """A `Session` of ONNX Runtime."""

    def __init__(self, model: Noised, layout: str, device: str) -> None:
        runtime, path = imported(), model.path
        self._name = path.name
        with _loading(runtime, path):
            if device == "cuda":
                _load_cuda(runtime)
            _share_memory(runtime)
            options = session_options(runtime, {**model.config, "session.use_env_allocators": "1"})
            self._session = runtime.InferenceSession(str(path), options, providers=_PROVIDERS[device])
        if device == "cuda" and _CUDA not in self._session.get_providers():  # it falls back silently
            raise UsageError(
                "--device cuda: ONNX Runtime finds no GPU that it can use here, or no CUDA and cuDNN (which "
                "pip install 'onnxruntime-gpu[cuda,cudnn]' brings); leave it out"
            )
        self._turns = threading.Semaphore(_ON_GPU) if device == "cuda" else contextlib.nullcontext()
        self._running = runtime.RunOptions()
        self.input = _input(path.name, self._session.get_inputs(), layout)
        self._outputs = _numbers(path.name, self._session.get_outputs())

    def run(self, batch: NDArray[Any], only: Collection[str] | None = None) -> Outputs:
        names = [name for name in self._outputs if only is None or name in only]
        count = len(batch)
        filling = (self.input.batch or count) - count
        if filling:
            batch = np.concatenate([batch, np.repeat(batch[-1:], filling, axis=0)])
        try:
            with self._turns:
                outputs = self._session.run(
                    names, {self.input.name: batch.astype(self.input.dtype, copy=False)}, self._running
                )
        except Exception as error:  # onnxruntime's errors share no base class
            shape = "x".join(map(str, batch.shape))
            raise UsageError(f"{self._name} failed on an input of {shape} ({first_line(error)})") from None
        own = [out[:count] if filling and out.shape[:1] == batch.shape[:1] else out for out in outputs]
        return dict(zip(names, map(_as_read, own), strict=True))

    def stop(self) -> None:
        self._running.terminate = True


def cpu_session(path: Path, config: Mapping[str, str]) -> tuple[Any, Any]:
    """ONNX Runtime's own session for a model with any inputs, on one CPU thread, with these entries of its session
    configuration; and the options to run it with.

    Raises UsageError if ONNX Runtime is missing, or cannot load the model.
    """
    runtime = imported()
    with _loading(runtime, path):
        session = runtime.InferenceSession(str(path), session_options(runtime, config), providers=[_CPU])
    return session, runtime.RunOptions()


def session_options(runtime: Any, config: Mapping[str, str]) -> Any:
    """The options of a quiet session that runs in one thread, with these entries of its configuration."""
    options = runtime.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = 1
    for key, value in config.items():
        options.add_session_config_entry(key, value)
    return options


@contextlib.contextmanager
def _loading(runtime: Any, path: Path) -> Iterator[None]:
    """Turns errors of loading a model into UsageError."""
    try:
        with silence():
            yield
    except Exception as error:  # onnxruntime's errors share no base class
        raise UsageError(
            f"{path} is not an ONNX model that ONNX Runtime {runtime.__version__} can load ({first_line(error)})"
        ) from None


def open_session(model: Noised, layout: str, device: str) -> OnnxSession:
    """See the package's `open_session`."""
    return OnnxSession(model, layout, device)


def versions(device: str) -> dict[str, str]:
    """ONNX Runtime's version. Raises UsageError if it is missing, or was built without support for the device."""
    runtime = imported()
    if device == "cuda" and _CUDA not in runtime.get_available_providers():
        raise UsageError(
            "--device cuda needs ONNX Runtime's GPU build: pip uninstall onnxruntime, then pip install "
            "'onnxruntime-gpu[cuda,cudnn]'"
        )
    return {"onnxruntime": str(runtime.__version__)}


def _as_read(output: NDArray[Any]) -> NDArray[Any]:
    return output.astype(np.float32, copy=False) if np.issubdtype(output.dtype, np.floating) else output


def imported() -> Any:
    """The module `onnxruntime`. Raises UsageError if it is missing."""
    try:
        with silence():  # it warns of invisible GPUs, whatever its log level
            import onnxruntime
    except ImportError:
        raise UsageError("--model needs ONNX Runtime: pip install onnxruntime") from None
    return onnxruntime


@functools.cache
def _load_cuda(runtime: Any) -> None:
    """Load CUDA and cuDNN from NVIDIA's packages, where the system does not look; the fallback is the system's own."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints which libraries it does not find
        runtime.preload_dlls()


@functools.cache
def _share_memory(runtime: Any) -> None:
    """Share one memory arena between all sessions; else each keeps the memory that it took in every thread."""
    kind = runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    runtime.create_and_register_allocator(runtime.OrtMemoryInfo("Cpu", kind, 0, runtime.OrtMemType.DEFAULT), None)


def _input(model: str, inputs: Sequence[Any], layout: str) -> Input:
    """A model's one input; ONNX Runtime does not list inputs that have a value in the model."""
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _NUMBERS:
        raise UsageError(f"{model} does not take one batch of images as numbers; its inputs: {_listed(inputs)}")
    (one,) = inputs
    lengths = [length if isinstance(length, int) and length > 0 else None for length in one.shape]
    check_channels(model, one.shape, layout)
    height, width = lengths[layout.index("h")], lengths[layout.index("w")]
    return Input(one.name, np.dtype(_NUMBERS[one.type]), lengths[0], height, width)


def _numbers(model: str, outputs: Sequence[Any]) -> list[str]:
    """The names of the numeric outputs."""
    found = [output for output in outputs if output.type in _NUMBERS]
    if len(found) < len(outputs) and not any(output.type in _FLOATS for output in found):
        raise UsageError(
            f"{model} puts out {_listed(outputs)}, and no scores as plain numbers: export it with such an output "
            "(scikit-learn's converters: zipmap=False), or predict with it yourself and give --predictions"
        )
    return [output.name for output in found]


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(f"{one.name} {one.type} {one.shape}" for one in values) or "none"
