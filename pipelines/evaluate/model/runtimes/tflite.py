"""LiteRT (formerly TensorFlow Lite) on the CPU, imported when first needed, its own messages kept off the terminal.

A model runs as by default, also on phones: on XNNPACK, or on LiteRT's own kernels for operators that XNNPACK lacks. The
two round quantised operators differently, so the kernels are recorded with the predictions. Refuses open image sizes,
tensors quantised by channel, and outputs that are not numbers.
"""

from __future__ import annotations

import contextlib
import math
import platform
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.evaluate.model.cells import Noised
from pipelines.evaluate.model.runtimes import Input, Outputs, check_channels
from pipelines.evaluate.model.runtimes.quiet import silence
from pipelines.text import first_line

NO_NOISE = "a TFLite model runs as it is: model noise needs an ONNX model"
# NumPy's kinds of floats, integers and unsigned integers.
_NUMBERS = "fiu"


class TfliteSession:
    """A `Session` of LiteRT.

    An interpreter serves one thread at a time, so there are as many as there were ever concurrent runs. All share the
    file's weights in memory (XNNPACK keeps a reordered copy in each).
    """

    def __init__(self, model: Noised, layout: str, device: str) -> None:
        _check_device(device)
        self._path = model.path
        self._idle: list[Any] = []
        self._stopped = False
        interpreter = self._interpreter()
        with _loading(self._path):
            self.input, self._place = _input(self._path.name, interpreter.get_input_details(), layout)
            self._outputs = _outputs(self._path.name, interpreter)
        self._idle.append(interpreter)

    def run(self, batch: NDArray[Any], only: Collection[str] | None = None) -> Outputs:
        if self._stopped:
            raise UsageError(f"{self._path.name}: its session was stopped")
        count = len(batch)
        filling = (self.input.batch or count) - count
        if filling:
            batch = np.concatenate([batch, np.repeat(batch[-1:], filling, axis=0)])
        try:
            interpreter = self._idle.pop()
        except IndexError:
            interpreter = self._interpreter()
        try:
            self._invoke(interpreter, batch.astype(self.input.dtype, copy=False))
            wanted = [output for output in self._outputs if only is None or output.name in only]
            found = {output.name: output.read(interpreter) for output in wanted}
        except (ValueError, RuntimeError) as error:
            shape = "x".join(map(str, batch.shape))
            raise UsageError(f"{self._path.name} failed on an input of {shape} ({first_line(error)})") from None
        self._idle.append(interpreter)
        return {name: output[:count] for name, output in found.items()} if filling else found

    def stop(self) -> None:
        """Refuse new runs; LiteRT cannot end those that have begun."""
        self._stopped = True

    def _interpreter(self) -> Any:
        litert = _litert()
        with _loading(self._path):
            interpreter = litert.interpreter.Interpreter(str(self._path), num_threads=1)
            interpreter.allocate_tensors()
        return interpreter

    def _invoke(self, interpreter: Any, batch: NDArray[Any]) -> None:
        if self.input.batch is None and interpreter.get_input_details()[0]["shape"][0] != len(batch):
            with silence():
                interpreter.resize_tensor_input(self._place, batch.shape, strict=True)
                interpreter.allocate_tensors()
        interpreter.set_tensor(self._place, batch)
        interpreter.invoke()


def open_session(model: Noised, layout: str, device: str) -> TfliteSession:
    """See the package's `open_session`."""
    return TfliteSession(model, layout, device)


def versions(device: str) -> dict[str, str]:
    """LiteRT's version and its kernels. Raises UsageError if LiteRT is missing, or for a GPU."""
    _check_device(device)
    return {"litert": str(_litert().__version__), "kernels": f"XNNPACK on {platform.machine()}"}


class _Quantised(NamedTuple):
    """A tensor whose integers stand for (number - zero_point) * scale."""

    scale: float
    zero_point: int


class _Output(NamedTuple):
    """An output of a model: its name, and its index among the model's tensors."""

    name: str
    place: int
    quantised: _Quantised | None

    def read(self, interpreter: Any) -> NDArray[Any]:
        """The output of the last run, as `Outputs` defines it."""
        found: NDArray[Any] = interpreter.get_tensor(self.place)
        if self.quantised is not None:
            return ((found.astype(np.float64) - self.quantised.zero_point) * self.quantised.scale).astype(np.float32)
        return found.astype(np.float32, copy=False) if np.issubdtype(found.dtype, np.floating) else found


def _check_device(device: str) -> None:
    if device != "cpu":
        raise UsageError(f"--device {device}: a TFLite model runs on the CPU here; leave it out")


@contextlib.contextmanager
def _loading(path: Path) -> Iterator[None]:
    """Turns errors of loading a model into UsageError."""
    try:
        with silence():  # XNNPACK announces itself
            yield
    except (ValueError, RuntimeError) as error:
        version = _litert().__version__
        raise UsageError(f"{path} is not a TFLite model that LiteRT {version} can load ({first_line(error)})") from None


def _litert() -> Any:
    try:
        with silence():
            import ai_edge_litert.interpreter
    except ImportError:
        raise UsageError("--model needs LiteRT: pip install ai-edge-litert") from None
    return ai_edge_litert


def _input(model: str, inputs: Sequence[Mapping[str, Any]], layout: str) -> tuple[Input, int]:
    """A model's one input, and its index among the model's tensors."""
    shapes = [one["shape_signature"].tolist() for one in inputs]
    types = [np.dtype(one["dtype"]) for one in inputs]
    if len(inputs) != 1 or len(shapes[0]) != 4 or types[0].kind not in _NUMBERS:
        names = [one["name"] for one in inputs]
        found = ", ".join(f"{name} {kind} {shape}" for name, kind, shape in zip(names, types, shapes, strict=True))
        raise UsageError(f"{model} does not take one batch of images as numbers; its inputs: {found or 'none'}")
    (one,), (shape,), (kind,) = inputs, shapes, types
    check_channels(model, shape, layout)
    if min(shape[1:]) < 1:
        fixed = [1, 224, 224, 3] if layout == "nhwc" else [1, 3, 224, 224]
        raise UsageError(
            f"{model} takes {shape}, where -1 is an open length: convert it again for images of one size, such as "
            f"{fixed}"
        )
    scale, zero_point = _quantised(model, one) or (None, 0)
    batch = shape[0] if shape[0] > 0 else None
    height, width = shape[layout.index("h")], shape[layout.index("w")]
    return Input(one["name"], kind, batch, height, width, scale, zero_point), one["index"]


def _outputs(model: str, interpreter: Any) -> list[_Output]:
    """A model's outputs, named by its one signature, else by its tensors; duplicate names get a number."""
    tensors = interpreter.get_output_details()
    signed = {}
    if len(interpreter.get_signature_list()) == 1:
        named = interpreter.get_signature_runner().get_output_details()
        signed = {tensor["index"]: name for name, tensor in named.items()}
    names = [str(signed.get(tensor["index"], tensor["name"])) for tensor in tensors]
    if len(set(names)) < len(names):
        names = [f"{name}:{number}" for number, name in enumerate(names)]
    for name, tensor in zip(names, tensors, strict=True):
        if np.dtype(tensor["dtype"]).kind not in _NUMBERS:
            raise UsageError(
                f"{model}: its output {name} is {np.dtype(tensor['dtype'])}, not numbers: predict with it yourself and "
                "give --predictions"
            )
    return [
        _Output(name, tensor["index"], _quantised(model, tensor)) for name, tensor in zip(names, tensors, strict=True)
    ]


def _quantised(model: str, tensor: Mapping[str, Any]) -> _Quantised | None:
    """How a tensor is quantised; None if it is not."""
    found = tensor["quantization_parameters"]
    scales, zero_points = found["scales"].tolist(), found["zero_points"].tolist()
    if np.issubdtype(tensor["dtype"], np.floating) or not any(scales):
        return None
    if len(scales) > 1 or not 0 < scales[0] < math.inf:
        few = ", ".join(f"{scale:.4g}" for scale in scales[:4])
        raise UsageError(
            f"{model}: its tensor {tensor['name']} has the scales {few}{', …' if len(scales) > 4 else ''}, not one "
            "above 0: convert it again with one for each input and output"
        )
    return _Quantised(scales[0], zero_points[0])
