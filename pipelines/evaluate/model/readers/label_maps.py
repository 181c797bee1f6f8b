"""A segmentation model's outputs as label maps of Cityscapes' 19 train ids: a folder with a PNG for each image.

Outputs are scores, (N, classes, h, w) or (N, h, w, classes), or maps of classes, (N, h, w), (N, 1, h, w) or
(N, h, w, 1). If their size is not the shards', they are upsampled as the model's TOML says. Refuses outputs that could
be read in two ways, or whose aspect ratio is not the shards'.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from generators.boxes import NONE, BoxNoise
from pipelines.errors import UsageError
from pipelines.evaluate.model.inputs import Image, Inputs
from pipelines.evaluate.model.noised import BOXES_REASON
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.model.readers.choice import choice_note, choose
from pipelines.evaluate.model.readers.upsampling import LINEAR, best, nearest
from pipelines.evaluate.model.runtimes import Outputs, described
from pipelines.evaluate.segmentation import CLASSES

# A key, and its label map as a PNG: about 20 kB instead of 2 MB.
LabelMap = tuple[str, bytes]

# Label maps are runs of equal bytes: run-length coding takes half the space and time of zlib's default strategy.
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
# How far an output's side may be off, as a share: one column in a grid of 32.
_STRIDES = 1 / 32
_ELSE = "predict with it yourself and give --predictions"


class LabelMaps:
    """A folder with an 8-bit, single-channel PNG for each key."""

    suffix = ""

    def write(self, rows: Sequence[LabelMap], path: Path) -> None:
        path.mkdir(exist_ok=True)
        for key, png in rows:
            (path / f"{key}.png").write_bytes(png)

    def join(self, parts: Sequence[Path], path: Path) -> None:
        path.mkdir(exist_ok=True)
        for part in parts:
            for png in part.glob("*.png"):
                shutil.copyfile(png, path / png.name)


def check(dataset: str, preprocessing: Preprocessing) -> None:
    """Raises UsageError for keys of classifiers and detectors, and for labels that are not train ids."""
    if preprocessing.head is not None:
        raise UsageError(
            f'head = "{preprocessing.head}" is for COCO shards, but {dataset} has label maps: leave it out'
        )
    if preprocessing.class_offset:
        raise UsageError(f"class_offset is for classifiers: for {dataset}, give labels with the train id of each class")
    if preprocessing.labels and max(preprocessing.labels) < 0:
        raise UsageError("labels has -1 for every class: none of the model's classes is one of the dataset's")
    strange = next((label for label in preprocessing.labels or () if label >= CLASSES), None)
    if strange is not None:
        raise UsageError(
            f"labels has {strange}: for {dataset}, labels are the train ids 0 to {CLASSES - 1}, or -1 for none"
        )


class Segmenter:
    """Reads a segmentation model's outputs; how is decided by those for one image.

    A class whose label is -1 is never the best of scores, and must not occur in a map.
    """

    def __init__(self, preprocessing: Preprocessing, inputs: Inputs, outputs: Outputs) -> None:
        self._labels = np.array(preprocessing.labels or range(CLASSES), np.int64)
        count = len(self._labels)
        self._name = choose(
            outputs,
            preprocessing.output,
            [lambda output: bool(_score_axes(output, count)), _is_map],
            f"scores (1, {count}, height, width) or (1, height, width, {count}), nor a map (1, height, width) of "
            "integers: if the model's classes are not the 19 train ids, give labels; predict with any other model "
            "yourself and give --predictions",
        )
        self.names = (self._name,)
        self.note = choice_note(outputs, self._name)
        output = outputs[self._name]
        axes = _score_axes(output, count)
        if len(axes) > 1:
            raise UsageError(
                f"the model's scores ({described({self._name: output})}) may have their classes on either of two axes: "
                f"{_ELSE}"
            )
        self._scores = bool(axes)
        self._dimensions = output.ndim
        self._last = axes == [3] or (not axes and output.ndim == 4 and output.shape[1] != 1)
        self._width, self._height, self._upsample = inputs.width, inputs.height, preprocessing.upsample
        self._upsampling(self._planes(output[0]))

    def _upsampling(self, planes: NDArray[Any]) -> str | None:
        """How outputs are upsampled to the shards' size; None if they have it. Raises UsageError if it is not stated.

        Asked for every output, since noise can change its size: pooling in ceil mode adds a row and a column.
        """
        height, width = planes.shape[1:]
        stated = self._upsample
        sizes = f"{width}x{height} pixels for {self._width}x{self._height}"
        if (width, height) == (self._width, self._height):
            return None
        if not _proportional((width, height), (self._width, self._height)):
            raise UsageError(f"the model puts out {sizes}, which is another aspect ratio: {_ELSE}")
        known = (*LINEAR, "nearest") if self._scores else ("nearest",)
        if stated in known:
            return stated
        lines = " or ".join(f'upsample = "{name}"' for name in known)
        if stated is None:
            raise UsageError(f"the model puts out {sizes}: state in its TOML how to upsample, {lines}")
        raise UsageError(f"the model puts out classes ({sizes}), which cannot be interpolated: give {lines}")

    def are_scores(self, output: NDArray[np.float32]) -> bool:
        """Whether all values are finite, as interpolation needs."""
        return bool(np.isfinite(output).all())

    def refusal(self, noise: BoxNoise) -> str | None:
        return None if noise == NONE else BOXES_REASON

    def read(self, outputs: Outputs, images: Sequence[Image], kinds: Sequence[BoxNoise]) -> list[list[LabelMap]]:
        """The label map of each image, the same for each box noise; ties go to the lower class."""
        found = outputs[self._name]
        if len(found) != len(images) or found.ndim != self._dimensions:
            raise UsageError(
                f"the model's outputs ({described({self._name: found})}) are not like the first image's for a batch of "
                f"{len(images)}: give batch = 1"
            )
        read = self._best if self._scores else self._chosen
        rows = [(image.key, _png(read(self._planes(own)))) for image, own in zip(images, found, strict=True)]
        return [rows for _ in kinds]

    def _planes(self, own: NDArray[Any]) -> NDArray[Any]:
        """One image's output as (classes, height, width), or (1, height, width) for a map."""
        if own.ndim == 2:
            return own[None]
        return np.moveaxis(own, -1, 0) if self._last else own

    def _best(self, planes: NDArray[Any]) -> NDArray[np.uint8]:
        upsample = self._upsampling(planes)
        known = [(plane, label) for plane, label in zip(planes, self._labels.tolist(), strict=True) if label >= 0]
        if upsample is not None and upsample in LINEAR:
            return best(known, self._height, self._width, LINEAR[upsample])
        height, width = planes.shape[1:]
        return nearest(best(known, height, width), self._height, self._width)

    def _chosen(self, planes: NDArray[Any]) -> NDArray[np.uint8]:
        self._upsampling(planes)
        classes = planes[0].astype(np.int64)
        strange = planes[0][(classes != planes[0]) | (classes < 0) | (classes >= len(self._labels))]
        if strange.size:
            raise UsageError(
                f"the model's map has {strange[0]:g}, but its classes are 0 to {len(self._labels) - 1}: give labels, a "
                "file with the train id of each of its classes"
            )
        labels = self._labels[classes]
        if labels.min() < 0:
            raise UsageError(
                f"the model's map has the class {classes[labels < 0][0]}, for which labels has -1: {_ELSE}"
            )
        return nearest(labels.astype(np.uint8), self._height, self._width)


def _png(classes: NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".png", classes, _PNG)
    return data.tobytes()


def _score_axes(output: NDArray[Any], classes: int) -> list[int]:
    """The axes of one image's output that could be `classes`; none if it cannot be scores."""
    if output.ndim != 4 or len(output) != 1 or output.dtype not in (np.float32, np.int8, np.uint8):
        return []
    return [axis for axis in (1, 3) if output.shape[axis] == classes]


def _is_map(output: NDArray[Any]) -> bool:
    """Whether one image's output is a map of classes: integers, possibly stored as floats."""
    plane = output.ndim == 3 or (output.ndim == 4 and 1 in (output.shape[1], output.shape[3]))
    return plane and len(output) == 1 and bool((np.rint(output) == output).all())


def _proportional(size: tuple[int, int], frame: tuple[int, int]) -> bool:
    """Whether a size is the frame's at some scale, give or take a pixel or what a network's strides may add."""
    slack = [max(1, side * _STRIDES) for side in size]
    least = max(whole / (side + more) for side, more, whole in zip(size, slack, frame, strict=True))
    most = min(whole / max(side - more, 0.5) for side, more, whole in zip(size, slack, frame, strict=True))
    return least <= most
