"""Predictions that are kept for reuse: one file a variant, and beside them `predictions.json`, what made them.

A file gets its real name when it is whole, and is used again only where the model, its preprocessing, ONNX Runtime
and the pixels are those that made it. Refuses a folder that holds anything else's predictions: nothing is overwritten.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipelines.errors import UsageError
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.predictions import ABOUT
from pipelines.evaluate.shards import ScoredVariant, Shards
from pipelines.files import replacing


def origin(shards: Shards, model: Path, preprocessing: Preprocessing, runtime: str) -> dict[str, Any]:
    """What decides predictions, the pixels of a variant aside, as plain JSON values."""
    stated = json.loads(json.dumps(preprocessing.of_predictions()))
    config = str(shards.reference.summary["config_sha256"])
    return {"model": _model_sha256(model), "preprocessing": stated, "onnxruntime": runtime, "shards": config}


def _model_sha256(model: Path) -> str:
    """Of the model and of the files beside it that it names, in which exporters put large weights."""
    content = model.read_bytes()
    beside = [p for p in sorted(model.parent.iterdir()) if p != model and p.is_file() and p.name.encode() in content]
    digest = hashlib.sha256()
    for path in (model, *beside):
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True)
class Kept:
    """A folder of predictions of one origin; `pixels` has the pixels' digest of each finished variant."""

    folder: Path
    suffix: str
    made_by: Mapping[str, Any]
    pixels: dict[str, str]

    def path(self, variant: ScoredVariant) -> Path:
        return self.folder / f"{variant.name}{self.suffix}"

    def has(self, variant: ScoredVariant) -> bool:
        """Whether there are predictions for these very pixels."""
        return self.pixels.get(variant.name) == variant.pixels_sha256 and self.path(variant).is_file()

    @contextlib.contextmanager
    def writing(self, variant: ScoredVariant) -> Iterator[Path]:
        """Where to write a variant's predictions; they are kept once the block has ended well."""
        with replacing(self.path(variant)) as partial:
            yield partial
        self.pixels[variant.name] = variant.pixels_sha256
        self.write()

    def copy(self, source: ScoredVariant, variant: ScoredVariant) -> None:
        """Keep a variant's predictions for another one with the same pixels."""
        with self.writing(variant) as partial:
            shutil.copyfile(self.path(source), partial)

    def write(self) -> None:
        """Write down what made the predictions, and which are there."""
        about = {**self.made_by, "variants": self.pixels}
        with replacing(self.folder / ABOUT) as partial:
            partial.write_text(json.dumps(about, indent=2, sort_keys=True) + "\n", encoding="utf-8")


@contextlib.contextmanager
def open_kept(folder: Path, suffix: str, made_by: Mapping[str, Any], shards: Shards) -> Iterator[Kept]:
    """The predictions in a folder, which is made where it is missing, held for this run alone.

    Raises UsageError where another origin's are in it, or another run holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=0):
            yield _open(folder, suffix, made_by, shards)
    except Timeout:
        raise UsageError(f"another run writes predictions to {folder}: wait for it, or give another --output") from None
    except OSError as error:
        raise UsageError(f"{folder} cannot be used ({error.strerror}): give another --output") from None


def _open(folder: Path, suffix: str, made_by: Mapping[str, Any], shards: Shards) -> Kept:
    path = folder / ABOUT
    try:
        about = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        kept = Kept(folder, suffix, made_by, dict(about["variants"]) if about else {})
        differences = list(_differences({name: about[name] for name in made_by}, made_by)) if about else []
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path} is damaged: delete {folder}, or give another --output") from None
    if differences and kept.pixels:
        raise UsageError(f"{folder} holds predictions of another {', '.join(differences)}: give another --output")
    strange = next((found for v in shards.variants.values() if (found := kept.path(v)).exists()), None)
    if strange and (about is None or differences):
        raise UsageError(f"{strange} is there, and no {ABOUT} that says what made it: give another --output")
    kept.write()
    return kept


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name, value in new.items():
        if old[name] == value:
            continue
        if name == "preprocessing":
            if keys := [key for key in value if old[name].get(key) != value[key]]:
                yield f"{name} ({', '.join(keys)})"
        else:
            yield name
