"""The cells of a table of predictions: each is one variant's pixels, one model, and one way to decode its boxes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from generators.boxes import NONE, BoxNoise
from pipelines.evaluate.model.weights import model_sha256
from pipelines.shards import FinishedVariant


@dataclass(frozen=True)
class Noised:
    """A model to run: as it is (`name` is empty), or with noise, as `ceil_mode+int8`.

    `sha256` covers its file and its external weights. `config` has the entries of ONNX Runtime's session configuration
    that it must run with.
    """

    name: str
    path: Path
    sha256: str
    config: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Equal for models whose outputs cannot differ."""
        return json.dumps([self.sha256, sorted(self.config.items())])


@dataclass(frozen=True)
class Cell:
    """One file of predictions, named after `variant` and made from its pixels."""

    variant: FinishedVariant
    model: Noised
    boxes: BoxNoise = NONE

    @property
    def name(self) -> str:
        return self.variant.name

    def absolute(self) -> Cell:
        """A copy for another process, which may have another working directory."""
        return replace(self, model=replace(self.model, path=self.model.path.absolute()))

    @property
    def key(self) -> tuple[str, str, BoxNoise]:
        """Pixels, model and boxes: equal for cells whose predictions cannot differ."""
        return self.variant.pixels_sha256, self.model.key, self.boxes

    @property
    def sha256(self) -> str:
        """The digest of `key`; for the model as it is, that of the pixels."""
        pixels = self.variant.pixels_sha256
        if not self.model.name and self.boxes == NONE:
            return pixels
        return hashlib.sha256(json.dumps([pixels, self.model.key, asdict(self.boxes)]).encode()).hexdigest()


def as_it_is(model: Path) -> Noised:
    """A model without noise. Raises UsageError if one of its files is missing."""
    return Noised("", model, model_sha256(model))
