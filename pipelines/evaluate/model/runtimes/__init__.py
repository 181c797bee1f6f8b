"""Runtimes: a module for each, chosen by the ending of the model's file and imported when needed.

Refuses models whose input is not one batch of colour images.
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

# A model's outputs by name, in the model's order: floats as float32, integers unchanged. The first axis is the batch;
# a model that takes one image at a time may lack it.
Outputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Input:
    """A model's one input: images of height x width; None for a length that the model leaves open.

    An integer `dtype` with a `scale` is a quantised input, which takes round(x / scale) + zero_point for x; without
    one, the input takes x itself, which must be an integer.
    """

    name: str
    dtype: np.dtype[Any]
    batch: int | None
    height: int | None
    width: int | None
    scale: float | None = None
    zero_point: int = 0


class Session(Protocol):
    """A loaded model, which several threads may run at once.

    On a CPU each run stays in its own thread, so that sums are made in one order, whatever the number of CPUs.
    """

    input: Input

    def run(self, batch: NDArray[Any], only: Collection[str] | None = None) -> Outputs:
        """The outputs for these images, or `only` those named; a fixed batch is padded, and the padding's are dropped.

        Raises UsageError if the model fails.
        """
        ...

    def stop(self) -> None:
        """End runs in other threads, and refuse new ones."""
        ...


class Runtime(Protocol):
    """A module of this package. `NO_NOISE` is why its models support no noise; empty if they do."""

    NO_NOISE: str

    def open_session(self, model: Noised, layout: str, device: str) -> Session: ...

    def versions(self, device: str) -> dict[str, str]: ...


def described(outputs: Outputs) -> str:
    """A short description of outputs: `logits float32 1x1000, labels int64 1`."""
    shapes = ((name, output.dtype, "x".join(map(str, output.shape)) or "scalar") for name, output in outputs.items())
    return ", ".join(f"{name} {dtype} {shape}" for name, dtype, shape in shapes)


# By the ending of a model's file; all other files are left to ONNX Runtime, which refuses what it cannot load.
_RUNTIMES: Mapping[str, str] = MappingProxyType({".tflite": "tflite"})


def runtime_of(model: Path) -> Runtime:
    """The runtime for a model's file."""
    module = _RUNTIMES.get(model.suffix.lower(), "onnx")
    return cast(Runtime, importlib.import_module(f"{__name__}.{module}"))


def open_session(model: Noised, layout: str, device: str) -> Session:
    """A model on a `device` (`cpu` or `cuda`) with an input of this `layout` (`nchw` or `nhwc`).

    Raises UsageError if its runtime is missing or cannot load it, or if its input has another layout.
    """
    return runtime_of(model.path).open_session(model, layout, device)


def check_channels(model: str, shape: Sequence[int | str | None], layout: str) -> None:
    """Raises UsageError unless the input shape of the model of this name has three channels where `layout` says.

    An open length (not a positive number) counts as three, unless the other layout's channels are three.
    """
    lengths = [length if isinstance(length, int) and length > 0 else None for length in shape]
    other = "nhwc" if layout == "nchw" else "nchw"
    own, theirs = lengths[layout.index("c")], lengths[other.index("c")]
    if own not in (None, 3) or (own is None and theirs == 3):
        hint = f'give layout = "{other}"' if theirs == 3 else "it must take three channels"
        raise UsageError(f"{model} takes {shape}, which is not {layout} with three channels: {hint}")
