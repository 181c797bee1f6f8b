"""TFLite models of one dense layer, with their arithmetic in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.evaluate.model.cells import as_it_is
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.model.runtimes import Session, open_session
from tests.pipelines.evaluate.model.runtimes.flat import Flat

SIDE, CLASSES = 4, 1001
VALUES = SIDE * SIDE * 3
# Pixels enter a quantised input with a scale of 1/128 unchanged.
AS_THEY_ARE = Preprocessing((128, 128, 128), (128, 128, 128), 1.0, "rgb", "nhwc", class_offset=1)


def tflite(path: Path, device: str = "cpu", layout: str = "nhwc") -> Session:
    return open_session(as_it_is(path), layout, device)


def refused(path: Path, device: str = "cpu", layout: str = "nhwc") -> str:
    with pytest.raises(UsageError) as caught:
        tflite(path, device, layout)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Steps(NamedTuple):
    """How an input, weights and an output are quantised, in this order."""

    scales: tuple[float, ...] = (1.0, 1.0, 1.0)
    zero_points: tuple[int, ...] = (0, 0, 0)


class Dense(NamedTuple):
    """A model of one layer with 1,001 classes, and its arithmetic."""

    path: Path
    weights: NDArray[Any]
    bias: NDArray[Any]
    steps: Steps = Steps()

    def expected(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """The outputs for an input: integer sums, multiplied once and rounded to the nearest step, halves to even."""
        own, weights, out = self.steps.zero_points
        sums = (batch.reshape(len(batch), -1).astype(np.int64) - own) @ (self.weights.astype(np.int64) - weights).T
        scale = np.array(self.steps.scales, np.float32)
        steps = np.rint((sums + self.bias).astype(np.float32) * (scale[0] * scale[1] / scale[2])) + out
        bounds = np.iinfo(self.weights.dtype)
        found: NDArray[np.float32] = (steps.clip(bounds.min, bounds.max).astype(np.float32) - out) * scale[2]
        return found


def quantised(path: Path, dtype: str, shape: Sequence[int] = (1, SIDE, SIDE, 3)) -> Dense:
    random, bounds = np.random.default_rng(1), np.iinfo(dtype)
    weights = random.integers(bounds.min + 1, bounds.max, (CLASSES, VALUES), endpoint=True).astype(dtype)
    bias = random.integers(-1000, 1000, CLASSES).astype(np.int32)
    own, of_weights, out = (1 / 128, 128 if dtype == "uint8" else 0), (0.02, 0 if bounds.min else 131), (0.25, 7)
    flat = Flat()
    image = flat.tensor("image", dtype, shape, (own[0],), own[1])
    rows = flat.tensor("rows", dtype, (shape[0], VALUES), (own[0],), own[1])
    scores = flat.tensor("scores", dtype, (shape[0], CLASSES), (out[0],), out[1])
    flat.add("RESHAPE", [image, flat.constant("shape", np.array([-1, VALUES], np.int32))], rows)
    constants = [flat.constant("weights", weights, *of_weights), flat.constant("bias", bias, own[0] * of_weights[0])]
    flat.add("FULLY_CONNECTED", [rows, *constants], scores)
    steps = Steps((own[0], of_weights[0], out[0]), (own[1], of_weights[1], out[1]))
    return Dense(flat.save(path, [image], [scores]), weights, bias, steps)


def floating(path: Path, signature: Sequence[int] | None = None, dtype: str = "float32") -> Dense:
    """A model that is not quantised; it converts integer pixels to floats itself."""
    random = np.random.default_rng(2)
    weights = random.normal(size=(CLASSES, VALUES)).astype(np.float32)
    bias = random.normal(size=CLASSES).astype(np.float32)
    flat = Flat()
    image = flat.tensor("image", dtype, (1, SIDE, SIDE, 3), signature=signature)
    rows = flat.tensor("rows", dtype, (1, VALUES))
    floats = flat.tensor("floats", "float32", (1, VALUES))
    scores = flat.tensor("scores", "float32", (1, CLASSES))
    flat.add("RESHAPE", [image, flat.constant("shape", np.array([-1, VALUES], np.int32))], rows)
    if dtype != "float32":
        flat.add("CAST", [rows], floats)
    inputs = [rows if dtype == "float32" else floats, flat.constant("weights", weights), flat.constant("bias", bias)]
    flat.add("FULLY_CONNECTED", inputs, scores)
    return Dense(flat.save(path, [image], [scores], {"logits": scores}), weights, bias)


def pictures(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 255, (count, SIDE, SIDE, 3), endpoint=True).astype(np.uint8)
