"""A piece of work: some samples of a shard, read once and run through every model and box noise that needs them.

Its result is a part of each cell's predictions, written whole, so that nothing is predicted twice. A model gives no
part if its outputs are not finite, or if it is noised and fails; the parts of the others are kept.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from manifests.untrusted import MOST_ROWS
from pipelines.ahead import in_order
from pipelines.errors import UsageError
from pipelines.evaluate.model.cells import Cell, Noised
from pipelines.evaluate.model.inputs import Image, Inputs
from pipelines.evaluate.model.readers import Form, Reader
from pipelines.evaluate.model.runtimes import Outputs, Session, open_session
from pipelines.shards import Shards, Stored
from pipelines.store import Remote
from pipelines.store.files import replacing

# Images in a piece: at most _IMAGES, which are lost if a worker dies; at least _FEWEST, since finding them in a tar
# takes as long as predicting one; in between, so that each worker has _PIECES.
_IMAGES, _FEWEST, _PIECES = 128, 8, 2


@dataclass(frozen=True)
class Job:
    """What all pieces share; it is sent to workers, so its paths are absolute.

    `cells` are by name, `folder` has the parts of predictions, `layout` is that of the models, `batch` a number of
    images, and `threads` read ahead of a GPU.
    """

    shards: Shards
    cells: Mapping[str, Cell]
    inputs: Inputs
    reader: Reader
    form: Form
    folder: Path
    layout: str
    batch: int
    device: str
    threads: int = 1

    def at_once(self, images: int, workers: int) -> int:
        """How many of `images` make a piece: whole batches, so that batches do not depend on the number of workers."""
        # More pieces would make a GPU wait for the first images of each, and read a stored tar from its start for each.
        if self.device == "cuda" or isinstance(self.shards.root, Remote):
            return MOST_ROWS
        even = max(_FEWEST, math.ceil(images / (_PIECES * workers)))
        return math.ceil(min(even, _IMAGES) / self.batch) * self.batch

    def part(self, cell: Cell, piece: Piece) -> Path:
        """The file of a piece's part of a cell's predictions."""
        return self.folder / cell.sha256 / f"{piece.place}{self.form.suffix}"

    def models(self, piece: Piece) -> dict[str, list[Cell]]:
        """The cells that a piece is for, by the key of their model."""
        return alike((self.cells[name] for name in piece.cells), lambda cell: cell.model.key)


@dataclass(frozen=True)
class Piece:
    """The samples `first` to `stop` (exclusive) of one shard, for the named cells, which share their pixels."""

    shard: int
    first: int
    stop: int
    cells: tuple[str, ...]

    @property
    def place(self) -> str:
        """A name for these samples that sorts in their order."""
        return f"{self.shard:05d}-{self.first:05d}-{self.stop:05d}"

    @property
    def images(self) -> int:
        return self.stop - self.first


class Outcome(NamedTuple):
    """The outcome of a model on a piece.

    `failed` is why it cannot run; `broken` is the number of images whose outputs are not finite, `first` the key of the
    first of them, and `nan` whether any output was NaN.
    """

    failed: str | None = None
    broken: int = 0
    first: str = ""
    nan: bool = False


class _Answer(NamedTuple):
    """A model's answer to a batch: rows for each box noise, or the keys of images whose outputs are not finite."""

    rows: Sequence[Sequence[Any]] = ()
    broken: Sequence[str] = ()
    nan: bool = False
    failed: str | None = None


# The number of images, and each model's answer.
_Answers = tuple[int, list[_Answer]]


@dataclass
class _Through:
    """A model at work on a piece, for cells that differ only in their box noise, and its results so far."""

    model: Noised
    session: Session | None
    cells: Sequence[Cell]
    rows: list[list[Any]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    nan: bool = False
    failed: str | None = None

    def answer(self, batch: NDArray[Any], images: Sequence[Image], reader: Reader) -> _Answer:
        """Run a batch, in any thread. Raises UsageError if the model as it is fails."""
        if self.failed or self.session is None:
            return _Answer()
        try:
            outputs = self.session.run(batch, reader.names)
            if all(map(reader.are_scores, _floats(outputs))):
                return _Answer(reader.read(outputs, images, [cell.boxes for cell in self.cells]))
        except UsageError as error:
            if not self.model.name:
                raise
            return _Answer(failed=f"{self.model.name}: {error}")
        nan = any(np.isnan(output).any() for output in _floats(outputs))
        return _Answer(broken=_broken(outputs, images, reader), nan=nan)

    def take(self, answer: _Answer) -> None:
        """Add an answer; answers come in the order of images."""
        self.failed = self.failed or answer.failed
        self.broken += answer.broken
        self.nan |= answer.nan
        self.rows = self.rows or [[] for _ in self.cells]
        for own, rows in zip(self.rows, answer.rows, strict=False):  # a broken answer has no rows
            own += rows

    @property
    def outcome(self) -> Outcome:
        return Outcome(self.failed, len(self.broken), next(iter(self.broken), ""), self.nan)


def work(piece: Piece, job: Job, careful: bool) -> Generator[int, None, dict[str, Outcome]]:
    """Predict a piece; yields numbers of predicted images, summed over models, and returns each model's outcome by key.

    `careful` makes no difference. Raises UsageError if the model as it is cannot run, and RunError if pixels cannot be
    read or parts cannot be written.
    """
    cv2.setNumThreads(1)  # there is a worker for each CPU
    of_models = job.models(piece)
    _forget(of_models)
    models = [_through(own, job) for own in of_models.values()]

    def answers(stored: Sequence[Stored]) -> _Answers:
        batch, images = _batch(job, stored)
        return len(images), [model.answer(batch, images, job.reader) for model in models]

    def stop() -> None:
        for session in _sessions.values():
            session.stop()
        _sessions.clear()

    source = job.cells[piece.cells[0]].variant
    groups = _grouped(job.shards.of_shard(source, piece.shard, range(piece.first, piece.stop)), job.batch)
    with contextlib.closing(_each(answers, groups, job.threads, stop)) as found:
        for images, some in found:
            for model, answer in zip(models, some, strict=True):
                model.take(answer)
            yield images * len(models)
    for model in models:
        if not model.failed and not model.broken:
            for cell, rows in zip(model.cells, model.rows, strict=True):
                with replacing(job.part(cell, piece)) as partial:
                    job.form.write(rows, partial)
    return {model.model.key: model.outcome for model in models}


def alike(cells: Iterable[Cell], key: Callable[[Cell], str]) -> dict[str, list[Cell]]:
    """Cells grouped by key, in the order of each group's first cell."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(key(cell), []).append(cell)
    return found


# The models that this process has loaded, by key, layout and device: those of its current or last piece.
_sessions: dict[tuple[str, str, str], Session] = {}


def loaded(model: Noised, layout: str, device: str) -> Session:
    """A session for a model, kept until a piece no longer needs it. Raises UsageError."""
    at = model.key, layout, device
    if at not in _sessions:
        _sessions[at] = open_session(model, layout, device)
    return _sessions[at]


def _forget(models: Collection[str]) -> None:
    """Close all other sessions."""
    for at in [at for at in _sessions if at[0] not in models]:
        del _sessions[at]


def _through(cells: Sequence[Cell], job: Job) -> _Through:
    model = cells[0].model
    try:
        return _Through(model, loaded(model, job.layout, job.device), cells)
    except UsageError as error:
        if not model.name:
            raise
        return _Through(model, None, cells, failed=f"{model.name}: {error}")


def _each(
    answers: Callable[[Sequence[Stored]], _Answers],
    groups: Iterable[list[Stored]],
    threads: int,
    stop: Callable[[], None],
) -> Generator[_Answers, None, None]:
    return in_order(answers, groups, threads, stop) if threads > 1 else (answers(group) for group in groups)


def _grouped(stored: Iterator[Stored], size: int) -> Iterable[list[Stored]]:
    while some := list(islice(stored, size)):
        yield some


def _batch(job: Job, stored: Sequence[Stored]) -> tuple[NDArray[Any], list[Image]]:
    batch = job.inputs.batch(len(stored))
    images = [
        job.inputs.place(one.key, job.shards.info(one), job.shards.pixels(one), into)
        for one, into in zip(stored, batch, strict=True)
    ]
    return batch, images


def _broken(outputs: Outputs, images: Sequence[Image], reader: Reader) -> list[str]:
    """The keys of the images whose outputs are not finite."""
    if len(images) == 1:
        return [images[0].key]
    floats = _floats(outputs)
    return [image.key for i, image in enumerate(images) if not all(reader.are_scores(out[i]) for out in floats)]


def _floats(outputs: Outputs) -> list[NDArray[np.float32]]:
    """The outputs that could be NaN or infinite."""
    return [output for output in outputs.values() if output.dtype == np.float32]
