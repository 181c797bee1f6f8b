"""A classifier's outputs as the dataset's labels, best first.

Refuses outputs that are not one score for each class, and numbers of classes that cannot be the dataset's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from generators.boxes import BoxNoise
from pipelines.errors import UsageError
from pipelines.evaluate.model.inputs import Image
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.model.reader import Add, Outputs
from pipelines.evaluate.predictions import CLASSES

TopFive = tuple[str, list[int]]

_COLUMNS = pa.schema([pa.field("key", pa.string()), pa.field("top5", pa.list_(pa.int64()))])


class Classifier:
    """Reads a classifier's outputs; made from those for one image, by which they are checked."""

    suffix = ".parquet"

    def __init__(self, preprocessing: Preprocessing, outputs: Outputs) -> None:
        shapes = ", ".join("x".join(map(str, output.shape)) for output in outputs)
        if len(outputs) != 1 or outputs[0].ndim < 2 or outputs[0].size != outputs[0].shape[1]:
            raise UsageError(
                f"the model's outputs for one image ({shapes}) are not one score for each class; a detector needs COCO "
                'shards and a head ("yolox" or "nanodet"), any other model --predictions'
            )
        self._shape = outputs[0].shape[1:]
        labels = _labels(self._shape[0], preprocessing)
        self._outputs = np.flatnonzero(labels >= 0)
        self._labels = labels[self._outputs]
        if len(self._labels) < 5:
            raise UsageError(f"the model has {len(self._labels)} of the dataset's classes: a top-5 needs five")

    def are_scores(self, output: NDArray[np.float32]) -> bool:
        """Whether an output can be read: a class may be ruled out by minus infinity, but none be infinitely likely."""
        return bool((output < np.inf).all())

    def read(self, outputs: Outputs, images: Sequence[Image], kinds: Sequence[BoxNoise]) -> list[list[TopFive]]:
        """The five best labels of each image, for each kind alike; of equal scores, the model's lower class first."""
        if len(outputs[0]) != len(images):
            raise UsageError(f"the model gives {len(outputs[0])} outputs for {len(images)} images: give batch = 1")
        if outputs[0].shape[1:] != self._shape:
            shape = "x".join(map(str, outputs[0].shape))
            raise UsageError(f"the model's outputs ({shape}) are not one score for each of {self._shape[0]:,} classes")
        scores = outputs[0].reshape(len(images), -1)[:, self._outputs]
        rows = [(image.key, self._labels[_best(own)].tolist()) for image, own in zip(images, scores, strict=True)]
        return [rows for _ in kinds]

    @contextlib.contextmanager
    def writing(self, path: Path) -> Iterator[Add]:
        """A Parquet table with the columns `key` and `top5`."""
        keys: list[str] = []
        best: list[list[int]] = []

        def add(rows: Iterable[TopFive]) -> None:
            for key, labels in rows:
                keys.append(key)
                best.append(labels)

        yield add
        pq.write_table(pa.table([keys, best], schema=_COLUMNS), path)


def _best(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """The places of the five best, of equal ones the first; without sorting them all, as there may be many."""
    above = np.flatnonzero(scores >= np.partition(scores, -5)[-5])
    return above[np.argsort(-scores[above], kind="stable")[:5]]


def _labels(count: int, preprocessing: Preprocessing) -> NDArray[np.int64]:
    """The dataset's label of each of the model's classes, -1 for none."""
    if preprocessing.labels is not None:
        if len(preprocessing.labels) != count:
            raise UsageError(f"labels has {len(preprocessing.labels):,} lines and the model {count:,} classes")
        return np.array(preprocessing.labels, np.int64)
    offset = preprocessing.class_offset
    if count - offset != CLASSES:
        hint = "give labels, a file with the label of each class"
        if count in (CLASSES, CLASSES + 1):
            hint = f"give class_offset = {count - CLASSES}"
        raise UsageError(
            f"the model has {count:,} classes, less a class_offset of {offset}, where ImageNet has {CLASSES:,}: {hint}"
        )
    return np.maximum(np.arange(count) - offset, -1)
