"""The inputs and outputs of a speech model, from its ONNX signature: mels or ids in, mels or a waveform out.

Owns the layout of its arrays; a batch is one recording. Refuses, by name, any inputs other than these and their
lengths, and inputs of fixed length, since recordings vary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UsageError

Array = NDArray[Any]
_FLOATS: Mapping[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}
_WHOLE: Mapping[str, Any] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
# The suffix of inputs with the lengths of others: input_lengths, mel_lengths, text_lengths.
_LENGTHS = "lengths"


class Value(NamedTuple):
    """An input or output as ONNX Runtime lists it: a dynamic dimension is a name, or None."""

    name: str
    type: str
    shape: Sequence[int | str | None]

    def __str__(self) -> str:
        return f"{self.name} {self.type} {'×'.join(map(str, self.shape)) or 'scalar'}"


@dataclass(frozen=True)
class Takes:
    """What a model takes: `mels`, (1, bands, frames) or, if `turned`, (1, frames, bands); or `ids`, (1, length) or,
    without a batch dimension, (length,). `lengths` are inputs for the number of frames or ids.
    """

    what: Literal["mels", "ids"]
    main: Value
    lengths: Sequence[Value]
    turned: bool = False

    def feed(self, values: Array) -> dict[str, Array]:
        """The inputs for a spectrogram (bands, frames), or for ids (length,)."""
        if self.what == "mels":
            count, laid = values.shape[1], (values.T if self.turned else values)[None]
        else:
            count, laid = len(values), values[None] if len(self.main.shape) == 2 else values
        main = laid.astype({**_FLOATS, **_WHOLE}[self.main.type])
        lengths = {one.name: np.full((1,) * len(one.shape), count, _WHOLE[one.type]) for one in self.lengths}
        return {self.main.name: np.ascontiguousarray(main), **lengths}


def takes(model: str, inputs: Sequence[Value], bands: int) -> Takes:
    """What a model with these inputs takes. Raises UsageError, naming the input, if that is anything else."""
    lengths = [one for one in inputs if one.name.endswith(_LENGTHS) and one.type in _WHOLE and len(one.shape) <= 1]
    others = [one for one in inputs if one not in lengths]
    mels = [one for one in others if one.type in _FLOATS and len(one.shape) == 3 and bands in one.shape[1:]]
    ids = [one for one in others if one.type in _WHOLE and len(one.shape) in (1, 2)]
    main = next(iter([*mels, *ids]), None)
    strange = next((one for one in others if one is not main), None)
    if main is None or strange is not None:
        raise UsageError(
            f"{model} takes {strange or 'nothing'}: export it with mels (float, 1×{bands}×frames or 1×frames×{bands}) "
            f"or ids (integers, 1×length) as its input, and optionally their lengths, named *{_LENGTHS}"
        )
    if main in mels and main.shape[1] == main.shape[2]:
        raise UsageError(
            f"{model} takes {main}, which can be bands × frames or frames × bands: export it with a dynamic number of "
            "frames"
        )
    turned = main in mels and main.shape[2] == bands
    _check_open(model, main, main.shape[1 if turned else -1])
    return Takes("mels" if main in mels else "ids", main, lengths, turned)


def _check_open(model: str, main: Value, length: int | str | None) -> None:
    """Raises UsageError if the model cannot be fed one recording of any length."""
    batch = main.shape[0] if len(main.shape) > 1 else 1
    if isinstance(batch, int) and batch > 1:
        raise UsageError(f"{model} takes {batch} recordings at a time ({main}): export it with a batch of 1")
    if isinstance(length, int) and length > 0:
        raise UsageError(f"{model} takes a fixed length of {length} ({main}): export it with a dynamic length")


@dataclass(frozen=True)
class Gives:
    """Which output of a model is read, and as what: `mels`, `turned` if they are frames × bands, or a `waveform`."""

    what: Literal["mels", "waveform"]
    name: str
    others: Sequence[str]
    turned: bool = False

    def read(self, output: Array) -> Array:
        """The spectrogram (bands, frames), or the samples (n,)."""
        values = output.astype(np.float64)
        if self.what == "waveform":
            return values.reshape(-1)
        values = values[0] if values.ndim == 3 else values
        return values.T if self.turned else values

    @property
    def described(self) -> str:
        """How it is read, for people."""
        if self.what == "waveform":
            return "a waveform, which the reference's operator turns into mels"
        layout = "frames × bands" if self.turned else "bands × frames"
        others = f": it is the last such output, after {', '.join(self.others)}" if self.others else ""
        return f"mels ({layout}){others}"


def gives(model: str, outputs: Mapping[str, Array], bands: int) -> Gives:
    """Which output to read, from those for one recording: the last mels, since refined mels follow rough ones; without
    mels, the waveform. Raises UsageError if there is neither.
    """
    floats = {name: values for name, values in outputs.items() if np.issubdtype(values.dtype, np.floating)}
    mels = [
        name
        for name, values in floats.items()
        if bands in _unbatched(values.shape) and len(_unbatched(values.shape)) == 2
    ]
    if mels:
        shape = _unbatched(floats[mels[-1]].shape)
        if shape[0] == shape[1]:
            raise UsageError(
                f"{model} returns {mels[-1]} of {shape[0]}×{shape[1]}, which can be bands × frames or frames × bands: "
                "put a recording of another length first"
            )
        return Gives("mels", mels[-1], mels[:-1], turned=shape[1] == bands)
    waves = [name for name, values in floats.items() if values.size == max(values.shape, default=0) > 1]
    if len(waves) != 1:
        listed = ", ".join(
            f"{name} {values.dtype} {'×'.join(map(str, values.shape))}" for name, values in outputs.items()
        )
        raise UsageError(
            f"{model} returns {listed}, neither one waveform nor mels of {bands} bands: run it yourself, and give "
            "--predictions"
        )
    return Gives("waveform", waves[0], ())


def _unbatched(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
