"""A classifier's outputs as the dataset's labels, best first, in a Parquet table.

Refuses outputs that are not one score for each class, and numbers of classes that do not fit the dataset. Axes of
length 1 are ignored: (N, classes), (N, classes, 1, 1) and, for one image, (classes,) are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from generators.boxes import NONE, BoxNoise
from pipelines.errors import UsageError
from pipelines.evaluate.class_tables import CLASSES
from pipelines.evaluate.model.inputs import Image, Inputs
from pipelines.evaluate.model.noised import BOXES_REASON
from pipelines.evaluate.model.preprocessing import Preprocessing, check_distinct
from pipelines.evaluate.model.readers.choice import choice_note, choose
from pipelines.evaluate.model.runtimes import Outputs, described

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
    """Raises UsageError for keys of another kind of model, and for duplicate labels."""
    if preprocessing.head is not None:
        raise UsageError(f'head = "{preprocessing.head}" is for COCO shards, but {dataset} has classes: leave it out')
    if preprocessing.upsample is not None:
        raise UsageError(
            f'upsample = "{preprocessing.upsample}" is for Cityscapes shards, but {dataset} has classes: leave it out'
        )
    check_distinct(preprocessing)


class Classifier:
    """Reads a classifier's outputs; how is decided by those for one image."""

    def __init__(self, preprocessing: Preprocessing, inputs: Inputs, outputs: Outputs) -> None:
        known = len(preprocessing.labels) if preprocessing.labels else CLASSES + preprocessing.class_offset
        self._name = choose(
            outputs,
            preprocessing.output,
            [
                lambda output: _are_scores(output) and output.size == known,
                lambda output: _are_scores(output) and output.size in (CLASSES, CLASSES + 1),
                _are_scores,
            ],
            "one score for each class: a detector needs COCO shards; predict with any other model yourself and give "
            "--predictions",
        )
        self.names = (self._name,)
        self._count = outputs[self._name].size
        labels = _labels(self._count, preprocessing)
        self._outputs = np.flatnonzero(labels >= 0)
        self._labels = labels[self._outputs]
        if len(self._labels) < 5:
            raise UsageError(f"the model has {len(self._labels)} of the dataset's classes: a top-5 needs five")
        self.note = "; ".join(filter(None, [choice_note(outputs, self._name), self._coverage(preprocessing)]))

    def _coverage(self, preprocessing: Preprocessing) -> str:
        """A line on which of the model's classes are the dataset's, if not all are and no offset is stated."""
        if preprocessing.class_offset or len(self._labels) == self._count:
            return ""
        if preprocessing.labels is None:
            return f"the first of the model's {self._count:,} classes is read as the background (class_offset = 1)"
        lacking = CLASSES - len(self._labels)
        missed = f"; images of the other {lacking:,} cannot be predicted right" if lacking else ""
        return f"{len(self._labels):,} of the model's {self._count:,} classes are ImageNet's{missed}"

    def are_scores(self, output: NDArray[np.float32]) -> bool:
        """Whether no score is NaN or infinite; minus infinity rules a class out."""
        return bool((output < np.inf).all())

    def refusal(self, noise: BoxNoise) -> str | None:
        return None if noise == NONE else BOXES_REASON

    def read(self, outputs: Outputs, images: Sequence[Image], kinds: Sequence[BoxNoise]) -> list[list[TopFive]]:
        """The five best labels of each image, the same for each box noise; ties go to the lower class."""
        found, count = outputs[self._name], len(images)
        if count > 1 and len(found) != count:
            raise UsageError(f"the model gives {len(found)} outputs for {count} images: give batch = 1")
        if found.size != count * self._count:
            raise UsageError(
                f"the model's outputs ({described(outputs)}) are not one score for each of {self._count:,} classes"
            )
        scores = found.reshape(count, -1)[:, self._outputs].astype(np.float32, copy=False)
        rows = [(image.key, self._labels[_best(own)].tolist()) for image, own in zip(images, scores, strict=True)]
        return [rows for _ in kinds]


def _are_scores(output: NDArray[Any]) -> bool:
    """Whether one image's output is a vector of scores; 8-bit integers are scores, as they are too few for classes."""
    return output.dtype in (np.float32, np.int8, np.uint8) and output.size == max(output.shape, default=0)


def _best(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """The indices of the five best scores, the first of equal ones; found without sorting all of them."""
    above = np.flatnonzero(scores >= np.partition(scores, -5)[-5])
    return above[np.argsort(-scores[above], kind="stable")[:5]]


def _labels(count: int, preprocessing: Preprocessing) -> NDArray[np.int64]:
    """The dataset's label of each of the model's classes, -1 for none."""
    if preprocessing.labels is not None:
        if len(preprocessing.labels) != count:
            raise UsageError(f"labels has {len(preprocessing.labels):,} lines, but the model has {count:,} classes")
        return np.array(preprocessing.labels, np.int64)
    # 1,001 classes are TensorFlow's; if they were others, scoring would find all predictions off by one.
    offset = preprocessing.class_offset or (1 if count == CLASSES + 1 else 0)
    if count - offset != CLASSES:
        known = count in (CLASSES, CLASSES + 1)
        hint = f"give class_offset = {count - CLASSES}" if known else "give labels, a file with the label of each class"
        raise UsageError(
            f"the model has {count:,} classes less a class_offset of {offset}, but ImageNet has {CLASSES:,}: {hint}"
        )
    labels: NDArray[np.int64] = np.maximum(np.arange(count) - offset, -1)
    return labels
