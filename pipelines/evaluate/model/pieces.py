"""A piece of predicting: some samples of a shard, read once, through every model and kind of box noise that wants them.

What comes of it is a part of each cell's predictions, put in place whole, so that nothing is predicted twice. Outputs
that are no numbers give no part, and neither does a noised model that fails: the others' are kept.
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
from pipelines.files import replacing
from pipelines.shards import Shards, Stored
from pipelines.store import Remote

# Images in a piece: at most so many, since they are lost with a worker; not too few, since finding them in a tar takes
# as long as predicting one; and otherwise so that each worker has some pieces.
_IMAGES, _FEWEST, _PIECES = 128, 8, 2


@dataclass(frozen=True)
class Job:
    """What all pieces have in common; it is sent to workers, so that its paths are absolute.

    `cells` are by name. `folder` is where parts of predictions lie, `layout` the models', `batch` a number of images. A
    piece is worked on by so many `threads`, which are for reading ahead of a GPU.
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
        """Images in a piece of so many for so many workers: whole batches, so that it makes no difference to them."""
        # A GPU would wait for its first images again and again, and a tar in a store be read from its start.
        if self.device == "cuda" or isinstance(self.shards.root, Remote):
            return MOST_ROWS
        even = max(_FEWEST, math.ceil(images / (_PIECES * workers)))
        return math.ceil(min(even, _IMAGES) / self.batch) * self.batch

    def part(self, cell: Cell, piece: Piece) -> Path:
        """Where a piece's part of a cell's predictions lies."""
        return self.folder / cell.sha256 / f"{piece.place}{self.form.suffix}"

    def models(self, piece: Piece) -> dict[str, list[Cell]]:
        """The cells that a piece is for, by the key of their model."""
        return alike((self.cells[name] for name in piece.cells), lambda cell: cell.model.key)


@dataclass(frozen=True)
class Piece:
    """The samples at places `first` to `stop` (not with it) of one shard, for the named cells, which share pixels."""

    shard: int
    first: int
    stop: int
    cells: tuple[str, ...]

    @property
    def place(self) -> str:
        """A name of these samples that sorts as they do."""
        return f"{self.shard:05d}-{self.first:05d}-{self.stop:05d}"

    @property
    def images(self) -> int:
        return self.stop - self.first


class Outcome(NamedTuple):
    """What has come of a model on a piece.

    `failed` says why it cannot be run; `broken` is how many images' outputs are no numbers, `first` the key of the
    first of them, and `nan` whether any was NaN.
    """

    failed: str | None = None
    broken: int = 0
    first: str = ""
    nan: bool = False


class _Answer(NamedTuple):
    """What a model made of a batch: rows for each kind of boxes, or the keys of images whose outputs are no numbers."""

    rows: Sequence[Sequence[Any]] = ()
    broken: Sequence[str] = ()
    nan: bool = False
    failed: str | None = None


# So many images, and each model's answer.
_Answers = tuple[int, list[_Answer]]


@dataclass
class _Through:
    """A model that pixels go through, for cells that differ in their boxes alone, and what has come of it."""

    model: Noised
    session: Session | None
    cells: Sequence[Cell]
    rows: list[list[Any]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    nan: bool = False
    failed: str | None = None

    def answer(self, batch: NDArray[Any], images: Sequence[Image], reader: Reader) -> _Answer:
        """In any thread. Raises UsageError where the model as it is fails."""
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
        """In the order of images."""
        self.failed = self.failed or answer.failed
        self.broken += answer.broken
        self.nan |= answer.nan
        self.rows = self.rows or [[] for _ in self.cells]
        for own, rows in zip(self.rows, answer.rows, strict=False):  # no rows at all, where it was broken
            own += rows

    @property
    def outcome(self) -> Outcome:
        return Outcome(self.failed, len(self.broken), next(iter(self.broken), ""), self.nan)


def work(piece: Piece, job: Job, careful: bool) -> Generator[int, None, dict[str, Outcome]]:
    """Predict a piece; yields how many images a model has predicted, for all models together, and returns what has come
    of each, by key. `careful` makes no difference.

    Raises UsageError where the model as it is cannot be run, and RunError where pixels cannot be read or parts not be
    written.
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
    """The cells that have a key in common, in the order of the first of them."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(key(cell), []).append(cell)
    return found


# The models that this process has loaded, by key, layout and device: those of the piece that it is at, or was.
_sessions: dict[tuple[str, str, str], Session] = {}


def loaded(model: Noised, layout: str, device: str) -> Session:
    """A model that is ready to run, and stays so until a piece has no need of it. Raises UsageError."""
    at = model.key, layout, device
    if at not in _sessions:
        _sessions[at] = open_session(model, layout, device)
    return _sessions[at]


def _forget(models: Collection[str]) -> None:
    """Let go of all but these."""
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
    """The keys of the images whose outputs are no numbers."""
    if len(images) == 1:
        return [images[0].key]
    floats = _floats(outputs)
    return [image.key for i, image in enumerate(images) if not all(reader.are_scores(out[i]) for out in floats)]


def _floats(outputs: Outputs) -> list[NDArray[np.float32]]:
    """The outputs that could be no numbers."""
    return [output for output in outputs.values() if output.dtype == np.float32]
