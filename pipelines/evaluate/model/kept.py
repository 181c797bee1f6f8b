"""Predictions kept for reuse: a file for each variant, and `predictions.json`, which records what made them.

A file gets its final name when it is complete, and is reused only if the model, its preprocessing, its runtime, the
device, the pixels and the noise are those that made it. Finished parts of incomplete predictions wait in a folder of
parts. Refuses a folder with predictions of another origin: nothing is overwritten.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipelines.errors import UsageError
from pipelines.evaluate.model.cells import Cell, Noised
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.model.readers import Form
from pipelines.evaluate.predictions import ABOUT
from pipelines.shards import Shards
from pipelines.store.files import copy, remove, replacing


def origin(
    shards: Shards, model: Noised, preprocessing: Preprocessing, runtime: Mapping[str, str], device: str
) -> dict[str, Any]:
    """What decides predictions besides pixels and noise, as plain JSON values; `model` is the one without noise.

    `runtime` has the runtime's name and version.
    """
    stated = json.loads(json.dumps(preprocessing.of_predictions()))
    config = str(shards.reference.summary["config_sha256"])
    return {"model": model.sha256, "preprocessing": stated, **runtime, "shards": config, "device": device}


_PARTS = ".parts"


@dataclass(frozen=True)
class Kept:
    """A folder of predictions of one origin.

    `done` has the `Cell.sha256` of each finished file, by name; `failed` has that digest and the reason for cells that
    would only fail again.
    """

    folder: Path
    form: Form
    made_by: Mapping[str, Any]
    done: dict[str, str]
    failed: dict[str, tuple[str, str]]

    def path(self, name: str) -> Path:
        return self.folder / f"{name}{self.form.suffix}"

    def has(self, cell: Cell) -> bool:
        """Whether there are predictions of exactly these pixels, model and boxes."""
        return self.done.get(cell.name) == cell.sha256 and self.path(cell.name).exists()

    def reason(self, cell: Cell) -> str | None:
        """Why the cell cannot be predicted, if it has failed before."""
        of, reason = self.failed.get(cell.name, ("", ""))
        return reason if of == cell.sha256 else None

    @property
    def parts(self) -> Path:
        """The folder of finished parts of incomplete predictions: `<Cell.sha256>/<part><suffix>`."""
        return self.folder / _PARTS

    def join(self, cell: Cell, parts: Sequence[str]) -> None:
        """Keep these parts, in this order, as the cell's predictions."""
        folder = self.parts / cell.sha256
        with self._writing(cell) as partial:
            self.form.join([folder / f"{part}{self.form.suffix}" for part in parts], partial)
        shutil.rmtree(folder, ignore_errors=True)

    def clear(self) -> None:
        """Remove all parts."""
        shutil.rmtree(self.parts, ignore_errors=True)

    def copy(self, source: Cell, cell: Cell) -> None:
        """Keep a cell's predictions as those of another cell, which cannot differ."""
        with self._writing(cell) as partial:
            copy(self.path(source.name), partial)

    def fail(self, cell: Cell, reason: str, *, forever: bool) -> None:
        """Remove any predictions of the cell's name, and keep the reason if it holds `forever`."""
        self.done.pop(cell.name, None)
        if forever:
            self.failed[cell.name] = cell.sha256, reason
        self.write()
        remove(self.path(cell.name))

    @contextlib.contextmanager
    def _writing(self, cell: Cell) -> Iterator[Path]:
        with replacing(self.path(cell.name)) as partial:
            yield partial
        self.done[cell.name] = cell.sha256
        self.failed.pop(cell.name, None)
        self.write()

    def write(self) -> None:
        """Record what made the predictions, and which exist."""
        about = {**self.made_by, "variants": self.done, "failed": self.failed}
        with replacing(self.folder / ABOUT) as partial:
            partial.write_text(json.dumps(about, indent=2, sort_keys=True) + "\n", encoding="utf-8")


@contextlib.contextmanager
def open_kept(folder: Path, form: Form, made_by: Mapping[str, Any], names: Iterable[str]) -> Iterator[Kept]:
    """The predictions in a folder, created if it is missing and locked for this run; `names` are the files it may have.

    Raises UsageError if it has predictions of another origin, or another run has locked it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=0):
            yield _open(folder, form, made_by, names)
    except Timeout:
        raise UsageError(
            f"another run is writing predictions to {folder}: wait for it, or give another --output"
        ) from None
    except OSError as error:
        raise UsageError(f"{folder} cannot be used ({error.strerror}): give another --output") from None


def _open(folder: Path, form: Form, made_by: Mapping[str, Any], names: Iterable[str]) -> Kept:
    path = folder / ABOUT
    try:
        # Earlier versions knew only the CPU, and no noise.
        about = {"device": "cpu", "failed": {}, **json.loads(path.read_text("utf-8"))} if path.is_file() else None
        failed = {name: (str(of), str(reason)) for name, (of, reason) in about["failed"].items()} if about else {}
        kept = Kept(folder, form, made_by, dict(about["variants"]) if about else {}, failed)
        differences = list(_differences(about, made_by)) if about else []
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{path} is damaged: delete {folder}, or give another --output") from None
    if differences and kept.done:
        raise UsageError(f"{folder} has predictions of another {', '.join(differences)}: give another --output")
    strange = next((found for name in names if (found := kept.path(name)).exists()), None)
    if strange and (about is None or differences):
        raise UsageError(f"{strange} exists, but no {ABOUT} that says what made it: give another --output")
    if about is None or differences:
        kept.clear()
    kept.write()
    return kept


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name, value in new.items():
        if old.get(name) == value:
            continue
        if name == "preprocessing":  # an earlier version may lack a key, which is the same as None
            if keys := [key for key in value if old[name].get(key) != value[key]]:
                yield f"{name} ({', '.join(keys)})"
        else:
            yield name
