"""A causal language model in ONNX Runtime, on a CPU: tokens in, logits out.

Each run keeps to one thread, and as many runs as there are workers go on at a time, so that sums are made in one order
whatever their number. Refuses models without logits for every token, and those that look at the tokens that follow.
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
from pipelines.text import first_line

_FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)", BFLOAT16)
_LOGITS = "logits"
# The operators that quantise on the fly begin so: a change of one value's range changes the steps of all that are in
# the batch with it.
_MIXING = b"DynamicQuantize"
# How far a token's logits may be from themselves, as a share of the largest, when another token follows.
_LOOKS_AHEAD = 1e-5
# onnx's TensorProto.BFLOAT16.
_BFLOAT16 = 16


class FeedError(UsageError):
    """A model does not take what it was fed."""


class CausalModel:
    """A model that is ready to run, in as many threads at a time as call it.

    `feeds` makes its inputs of rows of tokens. `vocabulary` is how many tokens it knows, and `alone` whether a row's
    logits depend on the other rows of a batch, and of its filling, so that each is to be run by itself.
    """

    def __init__(self, path: Path, config: Mapping[str, str] | None = None) -> None:
        """`config` has entries of ONNX Runtime's session configuration.

        Raises UsageError where the file is no model, or none that goes on with a text.
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

        Raises FeedError where the model fails.
        """
        values = {name: self._value(name, array) for name, array in self.feeds.of(rows).items()}
        try:
            (logits,) = self._session.run_with_ort_values([self._output], values, self._running)
        except Exception as error:  # as above
            longest = max(map(len, rows))
            raise FeedError(
                f"{self.name} failed on {len(rows)} rows of {longest} tokens ({first_line(error)})"
            ) from None
        return _as_array(logits)[: len(rows)]

    def stop(self) -> None:
        """End what is running in other threads; nothing can be run any more."""
        self._running.terminate = True

    def _value(self, name: str, array: Array) -> Any:
        if name in self.feeds.bfloat16:
            return self._runtime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, _BFLOAT16)
        return self._runtime.OrtValue.ortvalue_from_numpy(array)

    def _vocabulary(self) -> int:
        """How many tokens there are logits of, for each of two tokens."""
        shape = self.run([[0, 0]]).shape
        if len(shape) != 3 or shape[1] < 2 or shape[2] < 2:
            raise UsageError(
                f"{self.name} puts out {self._output} of shape {'x'.join(map(str, shape))} for two tokens: logits of "
                "every token are wanted, (batch, length, vocabulary); export it so"
            )
        return int(shape[2])

    def _check_is_causal(self) -> None:
        """Raises UsageError where a token's logits are others when another token follows it, as in BERT."""
        if self.alone:  # what follows has a part in the range that a token is quantised by
            return
        one, other = (self.run([[0, following]])[0, 0].astype(np.float64) for following in (0, 1))
        with np.errstate(invalid="ignore"):  # of what is infinite, which is refused as an answer
            difference, largest = np.abs(one - other).max(), np.abs(one).max()
        if difference > _LOOKS_AHEAD * largest:
            raise UsageError(
                f"{self.name} is no causal model: its logits of a token depend on the token that follows; export one "
                "that goes on with a text"
            )


def versions() -> dict[str, str]:
    """ONNX Runtime's version."""
    return onnx.versions("cpu")


def _logits(model: str, outputs: Sequence[Value]) -> str:
    """The name of the output that has logits."""
    named = [one for one in outputs if one.name == _LOGITS] or [one for one in outputs if len(one.shape) == 3]
    found = [one.name for one in named if one.type in _FLOATS]
    if len(found) != 1:
        listed = ", ".join(f"{one.name} {one.type} {'x'.join(map(str, one.shape))}" for one in outputs)
        raise UsageError(f"{model} has no output logits of (batch, length, vocabulary): it puts out {listed}")
    return found[0]


def _as_array(value: Any) -> NDArray[Any]:
    """A tensor as an array; bfloat16, which NumPy has not, as float32."""
    if value.data_type() != BFLOAT16:
        return np.asarray(value.numpy())
    shape = tuple(value.shape())
    halves = np.frombuffer(ctypes.string_at(value.data_ptr(), 2 * math.prod(shape)), np.uint16)
    return np.left_shift(halves, 16, dtype=np.uint32).view(np.float32).reshape(shape)


def _mixes_rows(path: Path) -> bool:
    """Whether operators that quantise on the fly are named in a model's file: most often because it has them."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(_MIXING) >= 0
