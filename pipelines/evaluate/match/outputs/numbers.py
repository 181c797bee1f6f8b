"""Compares raw outputs value by value: logits, probabilities, or a detector's head before it is decoded.

If the device shows probabilities and the model logits, or the reverse, the softmax of the logits is compared. If the
device leaves out the classes before ImageNet's (`class_offset`), the model's are left out too. Refuses outputs that the
model does not have, and integers if the model has floats, since only the device knows their scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from generators.boxes import BoxNoise
from pipelines.errors import UsageError
from pipelines.evaluate.match.outputs.compare import Answer, Apart, of_image
from pipelines.evaluate.match.outputs.values import Arrays
from pipelines.evaluate.model.inputs import Image
from pipelines.evaluate.model.runtimes import Outputs

# Rounding by another runtime, as a share of an image's largest value: ONNX Runtime's own optimisations change a YOLOX's
# outputs by 4e-6, classifiers' by 4e-7; half precision changes them by 5e-4.
_ROUNDING = 1e-5
# How far probabilities may be outside 0 to 1, and their sum from 1: an 8-bit softmax has steps of 1/256.
_SLACK, _SUM = 1e-3, 0.05

Shape = tuple[int, ...]


class Numbers:
    """Compares arrays: the device's, by key, with the model's, whose outputs for one image give names and shapes."""

    decoded = False

    def __init__(self, theirs: Mapping[str, Arrays], outputs: Outputs, offset: int) -> None:
        own = {name: of_image(output, 0, 1).squeeze() for name, output in outputs.items()}
        key, first = next(iter(theirs.items()))
        self._names = [_output(name, array, own, offset, key, len(first)) for name, array in first.items()]
        shapes = [array.squeeze().shape for array in first.values()]
        self._offsets = [own[n].size - int(np.prod(shape)) for n, shape in zip(self._names, shapes, strict=True)]
        self.theirs: Mapping[str, Answer] = {
            key: self._given(key, arrays, first, own) for key, arrays in theirs.items()
        }
        soft = [
            (_are_probabilities([answer[place] for answer in self.theirs.values()]), _are_probabilities([own[name]]))
            for place, name in enumerate(self._names)
        ]
        self._soften = [device and not model for device, model in soft]
        if any(model and not device for device, model in soft):
            self.theirs = {
                key: tuple(
                    _softmax(a) if model and not device else a for a, (device, model) in zip(answer, soft, strict=True)
                )
                for key, answer in self.theirs.items()
            }
        self.notes: Sequence[str] = _notes(offset if any(self._offsets) else 0, soft)
        self._scales = [1.0]
        self.unit = ""
        if len(self._names) > 1:
            columns = [[answer[place] for answer in self.theirs.values()] for place in range(len(self._names))]
            self._scales = [float(np.stack(column).std(dtype=np.float64)) or 1.0 for column in columns]
            self.unit = f"|Δ| is in standard deviations of each output ({', '.join(self._names)}), averaged over them."
        self._classes = len(self._names) == 1 and len(shapes[0]) == 1
        self.heads = ("mean |Δ|", "max |Δ|", "top-1 agrees" if self._classes else "")

    def answers(self, outputs: Outputs, images: Sequence[Image], noises: Sequence[BoxNoise]) -> list[list[Answer]]:
        found = [self._mine(outputs, index, len(images)) for index in range(len(images))]
        return [found for _ in noises]

    def apart(self, theirs: Answer, mine: Answer) -> Apart:
        means, peaks, equal, close = [], [], True, True
        for device, model, scale in zip(theirs, mine, self._scales, strict=True):
            with np.errstate(over="ignore"):  # values that overflow float16 are not equal
                same = bool((model.astype(device.dtype) == device).all())
            equal &= same
            difference = np.abs(device.astype(np.float32) - (device if same else model).astype(np.float32))
            means.append(float(difference.mean(dtype=np.float64)) / scale)
            peaks.append(float(difference.max()) / scale)
            half = device.dtype == np.float16
            rounding = max(_ROUNDING, float(np.finfo(np.float16).eps) if half else 0.0)
            close &= bool(difference.max() <= rounding * np.abs(device.astype(np.float32)).max())
        agrees = float(theirs[0].argmax() == mine[0].argmax()) if self._classes else None
        return Apart(float(np.mean(means)), max(peaks), equal, close or equal, agrees)

    def _mine(self, outputs: Outputs, index: int, count: int) -> Answer:
        answer = []
        for name, offset, soften in zip(self._names, self._offsets, self._soften, strict=True):
            output = of_image(outputs[name], index, count).squeeze()
            output = _softmax(output) if soften else output
            answer.append(output[offset:] if offset else output)
        return tuple(answer)

    def _given(self, key: str, arrays: Arrays, first: Arrays, own: Mapping[str, NDArray[np.generic]]) -> Answer:
        answer = []
        for name, wanted in zip(self._names, first, strict=True):
            found = arrays[wanted].squeeze() if wanted in arrays else None
            shape = first[wanted].squeeze().shape
            if found is None or found.shape != shape or len(arrays) != len(first):
                raise UsageError(
                    f"the device's outputs for {key} are {_described(arrays)}, and other images' {_described(first)}: "
                    "write the same for all"
                )
            if found.dtype.kind in "ui" and own[name].dtype.kind == "f":
                raise UsageError(
                    f"the device's outputs for {key} are {found.dtype}, and the model's {name} is floats: write "
                    "(value - zero_point) * scale, as float32"
                )
            answer.append(found)
        return tuple(answer)


def _output(
    written: str, array: NDArray[np.generic], own: Mapping[str, NDArray[np.generic]], offset: int, key: str, count: int
) -> str:
    """The model's output that the device's array shows. Raises UsageError unless there is exactly one."""
    shape = array.squeeze().shape
    fitting = [name for name, output in own.items() if shape in (output.shape, _shorter(output.shape, offset))]
    named = [name for name in own if written in (name, name.replace("/", "_").replace(":", "_"))]
    # A single array may have any name.
    found = [name for name in fitting if name in named] if named or count > 1 else fitting
    if len(found) == 1:
        return found[0]
    what = f"the device's output {written} for {key} ({_times(shape)})" if written else f"{key}'s {_times(shape)}"
    have = ", ".join(f"{name} {_times(output.shape)}" for name, output in own.items())
    if found:
        raise UsageError(
            f"{what} could be any of the model's {', '.join(found)}: name files KEY.OUTPUT.npy, or arrays in KEY.npz"
        )
    raise UsageError(f"{what} is none of the model's outputs for one image: dump one of {have}")


def _shorter(shape: Shape, offset: int) -> Shape | None:
    """The shape without the classes before ImageNet's; None if there are none."""
    return (shape[0] - offset,) if offset and len(shape) == 1 else None


def _notes(offset: int, soft: Sequence[tuple[bool, bool]]) -> list[str]:
    notes = []
    if offset:
        notes.append(f"the device leaves out the first of the model's classes ({offset}), and so does the comparison")
    if any(device and not model for device, model in soft):
        notes.append("the device shows probabilities and the model has logits: their softmax is compared")
    if any(model and not device for device, model in soft):
        notes.append("the device shows logits and the model has probabilities: the logits' softmax is compared")
    return notes


def _are_probabilities(arrays: Sequence[NDArray[np.generic]]) -> bool:
    """Whether each array has probabilities of several classes."""
    return all(
        array.ndim == 1
        and array.size > 1
        and array.dtype.kind == "f"
        and float(array.min()) >= -_SLACK
        and float(array.max()) <= 1 + _SLACK
        and abs(float(array.astype(np.float64).sum()) - 1) <= _SUM
        for array in arrays
    )


def _softmax(logits: NDArray[np.generic]) -> NDArray[np.generic]:
    values = np.exp(logits.astype(np.float64) - float(logits.max()))
    return np.asarray(values / values.sum(), np.float32)


def _described(arrays: Arrays) -> str:
    return ", ".join(f"{name} {_times(array.shape)}".strip() for name, array in arrays.items())


def _times(shape: Shape) -> str:
    return "×".join(map(str, shape)) or "a single number"
