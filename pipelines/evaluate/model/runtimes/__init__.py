"""What runs a model's file: a module for each runtime, chosen by the file's ending and imported when it is needed.

Refuses models that do not take one batch of colour images.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.evaluate.model.cells import Noised

# A model's outputs by name, in its own order: floats as float32, whole numbers as they are. The first axis is the
# batch's, which a model that takes one image at a time may leave out.
Outputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Input:
    """A model's one input: images of height x width; None where the model leaves a length open.

    Where `dtype` is a whole number's, the model takes round(x / scale) + zero_point for x (a quantised input), or x
    itself, which must be whole then, where `scale` is None.
    """

    name: str
    dtype: np.dtype[Any]
    batch: int | None
    height: int | None
    width: int | None
    scale: float | None = None
    zero_point: int = 0


class Session(Protocol):
    """A model that is ready to run, in as many threads at a time as call it; each run keeps to its own on a CPU.

    So sums are made in one order, whatever the number of CPUs.
    """

    input: Input

    def run(self, batch: NDArray[Any], only: Collection[str] | None = None) -> Outputs:
        """The outputs for these images, or `only` some of them; a fixed batch is filled up, the filling's are dropped.

        Raises UsageError where the model fails.
        """
        ...

    def stop(self) -> None:
        """End what is running in other threads; nothing can be run any more."""
        ...


class Runtime(Protocol):
    """A module of this package. `NO_NOISE` is why noise cannot be put into its models; empty where it can."""

    NO_NOISE: str

    def open_session(self, model: Noised, layout: str, device: str) -> Session: ...

    def versions(self, device: str) -> dict[str, str]: ...


def described(outputs: Outputs) -> str:
    """What outputs there are, in a few words: `logits float32 1x1000, labels int64 1`."""
    shapes = ((name, output.dtype, "x".join(map(str, output.shape)) or "scalar") for name, output in outputs.items())
    return ", ".join(f"{name} {dtype} {shape}" for name, dtype, shape in shapes)


# By the ending of a model's file; every other file is ONNX's to refuse.
_RUNTIMES: Mapping[str, str] = MappingProxyType({".tflite": "tflite"})


def runtime_of(model: Path) -> Runtime:
    """The runtime for a model's file."""
    module = _RUNTIMES.get(model.suffix.lower(), "onnx")
    return cast(Runtime, importlib.import_module(f"{__name__}.{module}"))


def open_session(model: Noised, layout: str, device: str) -> Session:
    """A model on a `device` (`cpu` or `cuda`), whose input has a `layout` (`nchw` or `nhwc`).

    Raises UsageError where its runtime is missing or cannot load it, and where its input is not what `layout` says.
    """
    return runtime_of(model.path).open_session(model, layout, device)


def check_channels(model: str, shape: Sequence[int | str | None], layout: str) -> None:
    """Raises UsageError where an input of this shape, of a model of this name, has not three channels as `layout` says.

    A length that is no number above 0 is open, and may be three, unless the other layout's are.
    """
    lengths = [length if isinstance(length, int) and length > 0 else None for length in shape]
    other = "nhwc" if layout == "nchw" else "nchw"
    own, theirs = lengths[layout.index("c")], lengths[other.index("c")]
    if own not in (None, 3) or (own is None and theirs == 3):
        hint = f'give layout = "{other}"' if theirs == 3 else "it must take three channels"
        raise UsageError(f"{model} takes {shape}, which is not {layout} with three channels: {hint}")
