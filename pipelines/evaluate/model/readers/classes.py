"""A classifier's outputs as the dataset's labels, best first, in a Parquet table.

Refuses outputs that are not one score for each class, and numbers of classes that cannot be the dataset's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from generators.boxes import NONE, BoxNoise
from pipelines.errors import UsageError
from pipelines.evaluate.model.inputs import Image, Inputs
from pipelines.evaluate.model.noised import BOXES_REASON
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.model.runtimes import Outputs
from pipelines.evaluate.predictions import CLASSES

TopFive = tuple[str, list[int]]

_COLUMNS = pa.schema([pa.field("key", pa.string()), pa.field("top5", pa.list_(pa.int64()))])


class TopFives:
    """A Parquet table with the columns `key` and `top5`."""

    suffix = ".parquet"

    def write(self, rows: Sequence[TopFive], path: Path) -> None:
        columns = [[key for key, _ in rows], [labels for _, labels in rows]]
        pq.write_table(pa.table(columns, schema=_COLUMNS), path)

    def join(self, parts: Sequence[Path], path: Path) -> None:
        pq.write_table(pa.concat_tables([_COLUMNS.empty_table(), *map(pq.read_table, parts)]), path)


def check(dataset: str, preprocessing: Preprocessing) -> None:
    """Raises UsageError for what is stated of a detector."""
    if preprocessing.head is not None:
        raise UsageError(f'head = "{preprocessing.head}" is for COCO shards, and {dataset} has classes')


class Classifier:
    """Reads a classifier's outputs; made from those for one image, by which they are checked."""

    note = ""

    def __init__(self, preprocessing: Preprocessing, inputs: Inputs, outputs: Outputs) -> None:
        values = list(outputs.values())
        shapes = ", ".join("x".join(map(str, output.shape)) for output in values)
        one = len(values) == 1 and values[0].ndim >= 2 and values[0].size == values[0].shape[1]
        if not one or values[0].dtype != np.float32:
            raise UsageError(
                f"the model's outputs for one image ({shapes}) are not one score for each class; a detector needs COCO "
                "shards, any other model --predictions"
            )
        self._shape = values[0].shape[1:]
        labels = _labels(self._shape[0], preprocessing)
        self._outputs = np.flatnonzero(labels >= 0)
        self._labels = labels[self._outputs]
        if len(self._labels) < 5:
            raise UsageError(f"the model has {len(self._labels)} of the dataset's classes: a top-5 needs five")

    def are_scores(self, output: NDArray[np.float32]) -> bool:
        """Whether an output can be read: a class may be ruled out by minus infinity, but none be infinitely likely."""
        return bool((output < np.inf).all())

    def refusal(self, noise: BoxNoise) -> str | None:
        """Why box noise does not apply: there are classes alone."""
        return None if noise == NONE else BOXES_REASON

    def read(self, outputs: Outputs, images: Sequence[Image], kinds: Sequence[BoxNoise]) -> list[list[TopFive]]:
        """The five best labels of each image, for each kind alike; of equal scores, the model's lower class first."""
        (found,) = outputs.values()
        if len(found) != len(images):
            raise UsageError(f"the model gives {len(found)} outputs for {len(images)} images: give batch = 1")
        if found.shape[1:] != self._shape:
            shape = "x".join(map(str, found.shape))
            raise UsageError(f"the model's outputs ({shape}) are not one score for each of {self._shape[0]:,} classes")
        scores = found.reshape(len(images), -1)[:, self._outputs]
        rows = [(image.key, self._labels[_best(own)].tolist()) for image, own in zip(images, scores, strict=True)]
        return [rows for _ in kinds]


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
