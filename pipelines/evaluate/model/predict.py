"""Runs a model and its noised copies over variants, and keeps a file of predictions for each cell.

Classification shards give `<name>.parquet` (`key`, `top5`: labels 0-999, best first), COCO shards `<name>.json` (COCO
results, boxes in source pixels). Identical pixels are run once for each model, and read once for all loaded models.
Predictions are kept piece by piece, so that a stopped run resumes. Refuses a model that does not suit the shards, or
whose outputs are not finite; a failure of noise is recorded as a reason, and the rest goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.errors import UsageError
from pipelines.evaluate.model.cells import Cell
from pipelines.evaluate.model.inputs import Inputs, fitting
from pipelines.evaluate.model.kept import Kept, open_kept, origin
from pipelines.evaluate.model.pieces import Job, Outcome, Piece, alike, loaded
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.model.readers import Kind, Reader, kind_for
from pipelines.evaluate.model.weights import model_files
from pipelines.evaluate.model.workers import HERE, Workers
from pipelines.progress import counted, say
from pipelines.shards import Shards

# Bytes of the models that a worker loads together; a single model may have more.
_LOADED = 2**30


def predict(
    shards: Shards,
    cells: Sequence[Cell],
    preprocessing: Preprocessing,
    folder: Path,
    *,
    workers: Workers = HERE,
    device: str = "cpu",
) -> dict[str, str]:
    """Write the missing predictions of `cells` into `folder`; returns why a noised cell has none, by name.

    At least one cell is of the model as it is. Predictions do not depend on the `workers`. Raises UsageError if the
    model as it is, its preprocessing, the shards and the folder do not fit together, and RunError if shards cannot be
    read or predictions cannot be written.
    """
    plain = next(cell for cell in cells if not cell.model.name)
    kind = kind_for(shards.dataset, preprocessing)
    runtime = workers.versions(plain.model.path, device)
    made_by = origin(shards, plain.model, preprocessing, runtime, device)
    with open_kept(folder.absolute(), kind.form, made_by, {*shards.variants, *(cell.name for cell in cells)}) as kept:
        failed = {cell.name: reason for cell in cells if (reason := kept.reason(cell))}
        wanted = [cell for cell in cells if not kept.has(cell) and cell.name not in failed]
        if len(wanted) < len(cells):
            say(f"{len(cells) - len(wanted)} of {len(cells)} variants already predicted")
        if wanted:
            inputs, reader = _first(shards, plain, preprocessing, kind)
            failed |= _refused(reader, kept, wanted)
            left = [cell.absolute() for cell in wanted if cell.name not in failed]
            run = _Run(kept, left, [cell for cell in cells if kept.has(cell)])
            layout, batch = preprocessing.layout, preprocessing.batch
            job = Job(shards, run.cells, inputs, reader, kind.form, kept.parts, layout, batch, device)
            failed |= run.predict(job, workers)
        return {cell.name: failed[cell.name] for cell in cells if cell.name in failed}


def _first(shards: Shards, plain: Cell, preprocessing: Preprocessing, kind: Kind) -> tuple[Inputs, Reader]:
    """How inputs are filled and outputs read: found by running the first image, before hours of work."""
    stored = next(shards.stored(shards.reference.name), None)
    if stored is None:
        raise UsageError(f"{shards.reference.folder} has no images")
    image = shards.pixels(stored)
    session = loaded(plain.model, preprocessing.layout, "cpu")
    inputs = fitting(session.input, preprocessing, image, kind.detects)
    batch = inputs.batch(1)
    inputs.place(stored.key, shards.info(stored), image, batch[0])
    outputs = session.run(batch)
    reader = kind.reader(preprocessing, inputs, outputs)
    for note in filter(None, (inputs.note, reader.note)):
        say(note)
    return inputs, reader


def _refused(reader: Reader, kept: Kept, cells: Sequence[Cell]) -> dict[str, str]:
    """Why box noise does not apply to some of these cells, by name; they get no predictions."""
    refused = {cell.name: reason for cell in cells if (reason := reader.refusal(cell.boxes))}
    for cell in cells:
        if cell.name in refused:
            kept.fail(cell, refused[cell.name], forever=True)
    return refused


class _Run:
    """Predicts the `wanted` cells, without repeating what they share with each other or with the `existing` ones."""

    def __init__(self, kept: Kept, wanted: Sequence[Cell], existing: Sequence[Cell]) -> None:
        self._kept = kept
        self._twins: dict[str, list[Cell]] = {}
        self._reasons: dict[str, str] = {}
        # Why the model as it is cannot be scored: its outputs are not finite.
        self._refusal: str | None = None
        # The outcomes of each cell's pieces, by name; None for a piece to come.
        self._outcomes: dict[str, dict[Piece, Outcome | None]] = {}
        sources = {cell.key: cell for cell in existing[::-1]}
        self.cells: dict[str, Cell] = {}
        for cell in wanted:
            twin = sources.setdefault(cell.key, cell)
            if twin is cell:
                self.cells[cell.name] = cell
                continue
            what = "pixels and model" if cell.model.name else "pixels"
            say(f"{cell.name} has the same {what} as {twin.name}: its predictions are reused")
            if twin in existing:
                kept.copy(twin, cell)
            else:
                self._twins.setdefault(twin.name, []).append(cell)

    def predict(self, job: Job, workers: Workers) -> dict[str, str]:
        """Predict all cells; returns why a noised cell has no predictions, by name."""
        planned = [self._lacking(piece, job) for piece in _pieces(list(self.cells.values()), job, workers.number)]
        pieces = [piece for piece in planned if piece.cells]
        for cell in self.cells.values():
            self._outcomes.setdefault(cell.name, {})
            self._settle(cell)
        total = sum(piece.images * len(job.models(piece)) for piece in pieces)
        with counted(total, "img", "images predicted") as advance:
            for done in workers.work(job, self._left(pieces), len(pieces)):
                if isinstance(done, int):
                    advance("", done)
                else:
                    self._take(*done, job)
        if self._refusal:
            raise UsageError(self._refusal)
        self._kept.clear()
        return self._reasons

    def _lacking(self, piece: Piece, job: Job) -> Piece:
        """The piece, restricted to cells that have no part of it yet."""
        lacking = []
        for name in piece.cells:
            exists = job.part(self.cells[name], piece).exists()
            self._outcomes.setdefault(name, {})[replace(piece, cells=())] = Outcome() if exists else None
            if not exists:
                lacking.append(name)
        return replace(piece, cells=tuple(lacking))

    def _left(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """The pieces, each without the cells that have failed by the time its turn comes."""
        for piece in pieces:
            cells = tuple(name for name in piece.cells if name not in self._reasons)
            if cells:
                yield replace(piece, cells=cells)

    def _take(self, piece: Piece, outcomes: Mapping[str, Outcome], job: Job) -> None:
        for model, cells in job.models(piece).items():
            for cell in cells:
                self._outcomes[cell.name][replace(piece, cells=())] = outcomes[model]
                self._settle(self.cells[cell.name])

    def _settle(self, cell: Cell) -> None:
        """Keep a cell's predictions when all its pieces are done, or the reason as soon as it has failed."""
        outcomes = self._outcomes[cell.name]
        known = [outcome for outcome in outcomes.values() if outcome]
        failed = next((outcome.failed for outcome in known if outcome.failed), None)
        if cell.name in self._reasons or (failed is None and len(known) < len(outcomes)):
            return
        reason = failed or _reason(cell, known)
        if reason is None:
            self._kept.join(cell, [piece.place for piece in outcomes])
            for twin in self._twins.get(cell.name, ()):
                self._kept.copy(cell, twin)
        elif cell.model.name:
            for own in (cell, *self._twins.get(cell.name, ())):
                self._reasons[own.name] = reason
                self._kept.fail(own, reason, forever=failed is None)
        else:
            self._refusal = self._refusal or reason


def _reason(cell: Cell, outcomes: Iterable[Outcome]) -> str | None:
    """Why outputs are not predictions, in one line; None if they are."""
    broken = [outcome for outcome in outcomes if outcome.broken]
    if not broken:
        return None
    what = "NaN" if any(outcome.nan for outcome in broken) else "infinity"
    count, images = sum(outcome.broken for outcome in broken), int(cell.variant.summary["totals"]["samples"])
    share = f"{count:,} of {images:,} images of {cell.variant.folder.name}"
    found = f"gives {what} for {share} (first: {broken[0].first})"
    if not cell.model.name:
        return f"the model {found}: is its preprocessing right?"
    half = "fp16" in cell.model.name.split("+")
    return f"{cell.model.name} {found}: {'it overflows in half precision' if half else 'the model breaks'}"


def _pieces(cells: Sequence[Cell], job: Job, workers: int) -> Iterator[Piece]:
    """The pieces of all cells; those with the same pixels share pieces."""
    for load in _loads(cells):
        for own in alike(load, lambda cell: cell.variant.pixels_sha256).values():
            names = tuple(cell.name for cell in own)
            summary = own[0].variant.summary
            size = job.at_once(summary["totals"]["samples"], workers)
            for number, shard in enumerate(summary["shards"]):
                samples = int(shard["samples"])
                for first in range(0, samples, size):
                    yield Piece(number, first, min(first + size, samples), names)


def _loads(cells: Iterable[Cell]) -> Iterator[list[Cell]]:
    """The cells, grouped by the models that are loaded together."""
    load: list[Cell] = []
    size = 0
    for own in alike(cells, lambda cell: cell.model.key).values():
        more = sum(path.stat().st_size for path in model_files(own[0].model.path))
        if load and size + more > _LOADED:
            yield load
            load, size = [], 0
        load, size = load + own, size + more
    yield load
