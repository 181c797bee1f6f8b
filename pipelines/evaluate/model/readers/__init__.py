"""What turns a model's outputs into predictions, a module for each kind: classes, boxes, label maps.

A dataset has one kind. Its predictions lie in files of one form, which are written in parts and joined.
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
    """Reads outputs, in any thread. `names` are those that it reads: the others may hold anything."""

    @property
    def names(self) -> Collection[str]: ...

    @property
    def note(self) -> str:
        """A line for the user on how they are read; may be empty."""
        ...

    def are_scores(self, output: NDArray[np.float32]) -> bool:
        """Whether an output of floats holds numbers that can be read."""
        ...

    def refusal(self, noise: BoxNoise) -> str | None:
        """Why box noise does not apply to what the model puts out; None where it does."""
        ...

    def read(self, outputs: Outputs, images: Sequence[Image], kinds: Sequence[BoxNoise]) -> list[list[Any]]:
        """The rows of these images, for each kind of box noise."""
        ...


class Form(Protocol):
    """How predictions lie on a disk: `<name><suffix>` is a file, or, where `suffix` is empty, a folder."""

    suffix: str

    def write(self, rows: Sequence[Any], path: Path) -> None:
        """Write rows into a new file."""
        ...

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Write one file of all these, in their order."""
        ...


class Kind(NamedTuple):
    """A kind of model. `check` raises UsageError where what is stated of a model is of another kind.

    `reader` makes what reads the outputs of a model from those for one image, by which it checks them. `detects`: there
    are boxes, and images of many sizes in the one frame of an input.
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
    """The kind of model that a dataset is for. Raises UsageError where this one is of another."""
    if dataset not in _KINDS:
        raise UsageError(f"--model takes nothing for {dataset} shards: use --predictions")
    _KINDS[dataset].check(dataset, preprocessing)
    return _KINDS[dataset]


def detects(dataset: str) -> bool:
    """Whether a dataset is for detectors."""
    return dataset in _KINDS and _KINDS[dataset].detects
