"""What there is to predict: cells of a table, each some pixels through one model and one way to read its boxes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from generators.boxes import NONE, BoxNoise
from pipelines.evaluate.model.weights import model_sha256
from pipelines.shards import FinishedVariant, Shards


@dataclass(frozen=True)
class Noised:
    """A model to run: as it is (with no name), or with the noise of some tokens, as `ceil_mode+int8`.

    `sha256` is of its file and of those that it keeps weights in. `config` has the entries of ONNX Runtime's session
    configuration that it must be run with.
    """

    name: str
    path: Path
    sha256: str
    config: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The same for models that cannot differ in what they put out."""
        return json.dumps([self.sha256, sorted(self.config.items())])


@dataclass(frozen=True)
class Cell:
    """One file of predictions: named after `variant`, made of that one's pixels."""

    variant: FinishedVariant
    model: Noised
    boxes: BoxNoise = NONE

    @property
    def name(self) -> str:
        return self.variant.name

    def absolute(self) -> Cell:
        """The same for another process, whose current folder may be another."""
        return replace(self, model=replace(self.model, path=self.model.path.absolute()))

    @property
    def key(self) -> tuple[str, str, BoxNoise]:
        """The same for cells that cannot differ in their predictions: pixels, model and boxes."""
        return self.variant.pixels_sha256, self.model.key, self.boxes

    @property
    def sha256(self) -> str:
        """What the predictions are of: the pixels' digest for the model as it is, and one of all three otherwise."""
        pixels = self.variant.pixels_sha256
        if not self.model.name and self.boxes == NONE:
            return pixels
        return hashlib.sha256(json.dumps([pixels, self.model.key, asdict(self.boxes)]).encode()).hexdigest()


def as_it_is(model: Path) -> Noised:
    """A model without noise. Raises UsageError where one of its files cannot be found."""
    return Noised("", model, model_sha256(model))


def plain_cells(shards: Shards, model: Path) -> list[Cell]:
    """Every variant of `shards` through a model as it is."""
    own = as_it_is(model)
    return [Cell(variant, own) for variant in shards.variants.values()]
