"""Readers turn a model's outputs into predictions, a module for each kind: classes, boxes, label maps.

Each dataset has one kind. Its predictions are files of one form, written in parts and joined.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from generators.boxes import BoxNoise
from manifests.images import CLASSIFIED
from pipelines.errors import UsageError
from pipelines.evaluate.model.inputs import Image, Inputs
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.model.readers import boxes, classes, label_maps
from pipelines.evaluate.model.runtimes import Outputs


class Reader(Protocol):
    """Reads outputs, in any thread; `names` are those that it reads, and the others are ignored."""

    @property
    def names(self) -> Collection[str]: ...

    @property
    def note(self) -> str:
        """A line for the user on how outputs are read; may be empty."""
        ...

    def are_scores(self, output: NDArray[np.float32]) -> bool:
        """Whether all values of a float output can be read."""
        ...

    def refusal(self, noise: BoxNoise) -> str | None:
        """Why box noise does not apply to the model's outputs; None if it does."""
        ...

    def read(self, outputs: Outputs, images: Sequence[Image], kinds: Sequence[BoxNoise]) -> list[list[Any]]:
        """The rows of these images, for each kind of box noise."""
        ...


class Form(Protocol):
    """How predictions are stored: `<name><suffix>` is a file, or a folder if `suffix` is empty."""

    suffix: str

    def write(self, rows: Sequence[Any], path: Path) -> None:
        """Write rows into a new file."""
        ...

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Join parts, in this order, into one."""
        ...


class Kind(NamedTuple):
    """A kind of model.

    `check` raises UsageError for preprocessing of another kind of model. `reader` makes a model's reader from its
    outputs for one image, which it checks. `detects`: outputs are boxes, and images of many sizes share the input's
    frame.
    """

    form: Form
    check: Callable[[str, Preprocessing], None]
    reader: Callable[[Preprocessing, Inputs, Outputs], Reader]
    detects: bool = False


_CLASSES = Kind(classes.TopFives(), classes.check, classes.Classifier)
_KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        **dict.fromkeys(CLASSIFIED, _CLASSES),
        "coco": Kind(boxes.Results(), boxes.check, boxes.Detector, detects=True),
        "cityscapes": Kind(label_maps.LabelMaps(), label_maps.check, label_maps.Segmenter),
    }
)


def kind_for(dataset: str, preprocessing: Preprocessing) -> Kind:
    """The kind of model that a dataset is for. Raises UsageError if this model's preprocessing is of another kind."""
    if dataset not in _KINDS:
        raise UsageError(f"--model cannot run on {dataset} shards: use --predictions")
    _KINDS[dataset].check(dataset, preprocessing)
    return _KINDS[dataset]


def detects(dataset: str) -> bool:
    """Whether a dataset is for detectors."""
    return dataset in _KINDS and _KINDS[dataset].detects
