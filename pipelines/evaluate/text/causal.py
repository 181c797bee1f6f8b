"""A causal language model in ONNX Runtime, on a CPU: tokens in, logits out.

Each run uses one thread, and each worker has a run, so that sums are added in the same order for any number of workers.
Refuses models that do not return logits for every token, and those that look at later tokens.
"""

from __future__ import annotations

import ctypes
import math
import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.evaluate.model.runtimes import onnx
from pipelines.evaluate.text.feeds import BFLOAT16, Array, Value, feeds_of
from pipelines.text import first_line, number_of

_FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)", BFLOAT16)
_LOGITS = "logits"
# The prefix of operators that quantise on the fly: the range of one row changes the quantisation steps of the whole
# batch.
_MIXING = b"DynamicQuantize"
# How much a token's logits may change, as a share of the largest, when another token follows.
_LOOKS_AHEAD = 1e-5
# onnx's TensorProto.BFLOAT16.
_BFLOAT16 = 16


class FeedError(UsageError):
    """A model failed on its inputs."""


class CausalModel:
    """A model that is ready to run, from any number of threads.

    `feeds` makes its inputs from rows of tokens. `vocabulary` is the number of tokens that it has logits for. `alone`
    says that a row's logits depend on the rest of its batch and on padding, so that each row must run by itself.
    """

    def __init__(self, path: Path, config: Mapping[str, str] | None = None) -> None:
        """`config` has entries of ONNX Runtime's session configuration.

        Raises UsageError if the file is not a causal language model.
        """
        self.name = path.name
        self._session, self._running = onnx.cpu_session(path, config or {})
        self._runtime = onnx.imported()
        self.feeds = feeds_of(path.name, self._session.get_inputs())
        self._output = _logits(path.name, self._session.get_outputs())
        self.alone = _mixes_rows(path)
        self.vocabulary = self._vocabulary()
        self._check_is_causal()

    def run(self, rows: Sequence[Sequence[int]]) -> NDArray[Any]:
        """The logits of each token of each row: floats of shape (rows, longest row or more, vocabulary).

        Raises FeedError if the model fails.
        """
        values = {name: self._value(name, array) for name, array in self.feeds.of(rows).items()}
        try:
            (logits,) = self._session.run_with_ort_values([self._output], values, self._running)
        except Exception as error:  # ONNX Runtime's errors share no base class
            fed = f"{number_of(len(rows), 'row')} of {number_of(max(map(len, rows)), 'token')}"
            raise FeedError(f"{self.name} failed on {fed} ({first_line(error)})") from None
        return _as_array(logits)[: len(rows)]

    def stop(self) -> None:
        """Abort runs in other threads; the model cannot be used any more."""
        self._running.terminate = True

    def _value(self, name: str, array: Array) -> Any:
        if name in self.feeds.bfloat16:
            return self._runtime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, _BFLOAT16)
        return self._runtime.OrtValue.ortvalue_from_numpy(array)

    def _vocabulary(self) -> int:
        """The number of logits for each token, tried with two tokens."""
        shape = self.run([[0, 0]]).shape
        if len(shape) != 3 or shape[1] < 2 or shape[2] < 2:
            raise UsageError(
                f"{self.name} returns {self._output} of shape {'x'.join(map(str, shape))} for two tokens: export it "
                "with logits of every token, (batch, length, vocabulary)"
            )
        return int(shape[2])

    def _check_is_causal(self) -> None:
        """Raises UsageError if a token's logits depend on the token that follows it, as in BERT."""
        if self.alone:  # later tokens change the range by which a token is quantised
            return
        one, other = (self.run([[0, following]])[0, 0].astype(np.float64) for following in (0, 1))
        with np.errstate(invalid="ignore"):  # infinite logits are refused when they are scored
            difference, largest = np.abs(one - other).max(), np.abs(one).max()
        if difference > _LOOKS_AHEAD * largest:
            raise UsageError(
                f"{self.name} is not a causal model: its logits for a token depend on the token that follows; export "
                "a model that continues a text"
            )


def versions() -> dict[str, str]:
    """ONNX Runtime's version."""
    return onnx.versions("cpu")


def _logits(model: str, outputs: Sequence[Value]) -> str:
    """The name of the output with the logits."""
    named = [one for one in outputs if one.name == _LOGITS] or [one for one in outputs if len(one.shape) == 3]
    found = [one.name for one in named if one.type in _FLOATS]
    if len(found) != 1:
        listed = ", ".join(f"{one.name} {one.type} {'x'.join(map(str, one.shape))}" for one in outputs)
        raise UsageError(f"{model} has no output logits of (batch, length, vocabulary): it returns {listed}")
    return found[0]


def _as_array(value: Any) -> NDArray[Any]:
    """A tensor as an array; bfloat16, which NumPy lacks, as float32."""
    if value.data_type() != BFLOAT16:
        return np.asarray(value.numpy())
    shape = tuple(value.shape())
    halves = np.frombuffer(ctypes.string_at(value.data_ptr(), 2 * math.prod(shape)), np.uint16)
    return np.left_shift(halves, 16, dtype=np.uint32).view(np.float32).reshape(shape)


def _mixes_rows(path: Path) -> bool:
    """Whether a model's file contains the name of an operator that quantises on the fly: almost always, because the
    model uses it.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(_MIXING) >= 0
