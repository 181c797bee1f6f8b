"""Runs models over variants and keeps their predictions, one file a cell: the model as it is, and noised ones.

Classification shards give `<name>.parquet` (`key`, `top5`: labels 0-999, best first), COCO shards `<name>.json` (COCO
results, boxes in source pixels). Pixels that are the same are run once for each model, and read once for all that are
loaded. Refuses a model that does not suit the shards, or whose outputs are no numbers; what fails with noise alone is a
reason, and nothing else fails with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import cv2

from pipelines.errors import UsageError
from pipelines.evaluate.model.cells import Cell, Noised
from pipelines.evaluate.model.inputs import Inputs, fitting
from pipelines.evaluate.model.kept import Kept, open_kept, origin
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.model.readers import Kind, Reader, kind_for
from pipelines.evaluate.model.runtimes import Session, open_session, runtime_of
from pipelines.evaluate.model.through import Setting, Through, images_of, pixels, read_through
from pipelines.evaluate.model.weights import model_files
from pipelines.evaluate.shards import Shards
from pipelines.progress import Advance, counted, say

# Bytes of the models that are loaded together, unless one alone has more.
_LOADED = 2**31


def predict(
    shards: Shards,
    cells: Sequence[Cell],
    preprocessing: Preprocessing,
    folder: Path,
    *,
    threads: int | None,
    device: str = "cpu",
) -> dict[str, str]:
    """Write the predictions of `cells` into `folder`, but for those that are there; why a noised one has none, by name.

    One cell at least is of the model as it is, and `shards` has a variant of each cell's name. Uses `threads` CPUs, all
    for None, and in each of them the memory of a run; predictions do not depend on their number. Raises UsageError
    where the model as it is, its preprocessing, the shards and the folder do not belong together, and RunError where
    shards cannot be read or predictions not be written.
    """
    plain = next(cell.model for cell in cells if not cell.model.name)
    kind = kind_for(shards.dataset, preprocessing)
    made_by = origin(shards, plain, preprocessing, runtime_of(plain.path).versions(device), device)
    with open_kept(folder, kind.form, made_by, {*shards.variants, *(cell.name for cell in cells)}) as kept:
        failed = {cell.name: reason for cell in cells if (reason := kept.reason(cell))}
        wanted = [cell for cell in cells if not kept.has(cell) and cell.name not in failed]
        if len(wanted) < len(cells):
            say(f"{len(cells) - len(wanted)} of {len(cells)} variants are predicted already")
        if wanted:
            session = open_session(plain, preprocessing.layout, device)
            inputs, reader = _first(shards, session, preprocessing, kind)
            failed |= _refused(reader, kept, wanted)
            wanted = [cell for cell in wanted if cell.name not in failed]
            cpus = threads or len(os.sched_getaffinity(0))
            setting = Setting(shards, inputs, reader, kept, preprocessing.batch, cpus)
            cv2.setNumThreads(1)  # there is a thread for each CPU already

            def loaded(model: Noised) -> Session:
                return session if model.key == plain.key else open_session(model, preprocessing.layout, device)

            failed |= _Run(setting, loaded, wanted, [cell for cell in cells if kept.has(cell)]).predict()
        return {cell.name: failed[cell.name] for cell in cells if cell.name in failed}


def _first(shards: Shards, session: Session, preprocessing: Preprocessing, kind: Kind) -> tuple[Inputs, Reader]:
    """How images go in and outputs come out, settled with the first image before hours of work."""
    stored = next(shards.stored(shards.reference.name), None)
    if stored is None:
        raise UsageError(f"{shards.reference.folder} has no images")
    image = pixels(shards, stored)
    inputs = fitting(session.input, preprocessing, image, kind.detects)
    batch = inputs.batch(1)
    inputs.place(stored.key, shards.info(stored), image, batch[0])
    outputs = session.run(batch)
    reader = kind.reader(preprocessing, inputs, outputs)
    if reader.note:
        say(reader.note)
    return inputs, reader


def _refused(reader: Reader, kept: Kept, cells: Sequence[Cell]) -> dict[str, str]:
    """Why box noise does not apply to some of these, by name; there will be no predictions of them."""
    refused = {cell.name: reason for cell in cells if (reason := reader.refusal(cell.boxes))}
    for cell in cells:
        if cell.name in refused:
            kept.fail(cell, refused[cell.name], forever=True)
    return refused


class _Run:
    """Predicts what is `wanted`, each thing once, where some cells are `there`."""

    def __init__(
        self, setting: Setting, loaded: Callable[[Noised], Session], wanted: Sequence[Cell], there: Sequence[Cell]
    ) -> None:
        self._setting, self._loaded = setting, loaded
        self._first: list[Cell] = []
        self._twins: dict[str, list[Cell]] = {}
        self._reasons: dict[str, str] = {}
        sources = {cell.key: cell for cell in there[::-1]}
        for cell in wanted:
            twin = sources.setdefault(cell.key, cell)
            if twin is cell:
                self._first.append(cell)
                continue
            what = "the pixels and the model" if cell.model.name else "the pixels"
            say(f"{cell.name} has {what} of {twin.name}, and is given its predictions")
            if twin in there:
                setting.kept.copy(twin, cell)
            else:
                self._twins.setdefault(twin.name, []).append(cell)

    def predict(self) -> dict[str, str]:
        """Predict all; why a noised cell has no predictions, by name."""
        readings = {cell.key[:2]: images_of(cell) for cell in self._first}
        with counted(sum(readings.values()), "img", "images predicted") as advance:
            for load in _loads(self._first):
                sessions = self._sessions(load)
                some = [cell for cell in load if cell.model.key in sessions]
                for cells in _alike(some, lambda cell: cell.variant.pixels_sha256):
                    self._read(cells, sessions, advance)
        return self._reasons

    def _sessions(self, cells: Sequence[Cell]) -> dict[str, Session]:
        """The models of some cells, loaded, by key; those that cannot be are a reason."""
        sessions = {}
        for own in _alike(cells, lambda cell: cell.model.key):
            model = own[0].model
            try:
                sessions[model.key] = self._loaded(model)
            except UsageError as error:  # the model as it is, which no reason would do for, is loaded already
                self._fail(own, f"{model.name}: {error}", forever=False)
        return sessions

    def _read(self, cells: Sequence[Cell], sessions: Mapping[str, Session], advance: Advance) -> None:
        """Predict cells that have their pixels in common. Raises UsageError where the model as it is fails on them."""
        models = [
            Through(own[0].model, sessions[own[0].model.key], own) for own in _alike(cells, lambda cell: cell.model.key)
        ]
        read_through(self._setting, models, advance)
        for model in models:
            if model.reason is None:
                for cell in model.cells:
                    for twin in self._twins.get(cell.name, ()):
                        self._setting.kept.copy(cell, twin)
            elif model.model.name:
                self._fail(model.cells, model.reason, forever=not model.failed)
        for model in models:
            if model.reason is not None and not model.model.name:
                raise UsageError(model.reason)

    def _fail(self, cells: Sequence[Cell], reason: str, *, forever: bool) -> None:
        for cell in cells:
            for own in (cell, *self._twins.get(cell.name, ())):
                self._reasons[own.name] = reason
                self._setting.kept.fail(own, reason, forever=forever)


def _alike(cells: Iterable[Cell], key: Callable[[Cell], str]) -> Iterable[list[Cell]]:
    """The cells that have a key in common, in the order of the first of them."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(key(cell), []).append(cell)
    return found.values()


def _loads(cells: Iterable[Cell]) -> Iterator[list[Cell]]:
    """The cells of models that are loaded together."""
    load: list[Cell] = []
    size = 0
    for own in _alike(cells, lambda cell: cell.model.key):
        more = sum(path.stat().st_size for path in model_files(own[0].model.path))
        if load and size + more > _LOADED:
            yield load
            load, size = [], 0
        load, size = load + own, size + more
    yield load
