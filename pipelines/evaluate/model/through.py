"""One reading of some pixels, through every model and kind of box noise that they are wanted for.

Images are read, and run in batches, in as many threads as there are CPUs; few of them are in memory. Outputs that are
no numbers give no predictions, and neither does a noised model that fails: the others' are kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.ahead import in_order
from pipelines.errors import UsageError
from pipelines.evaluate.model.cells import Cell, Noised
from pipelines.evaluate.model.inputs import Image, Inputs
from pipelines.evaluate.model.kept import Draft, Kept
from pipelines.evaluate.model.readers import Reader
from pipelines.evaluate.model.runtimes import Outputs, Session
from pipelines.evaluate.shards import Shards, Stored
from pipelines.generate import png
from pipelines.progress import Advance


class Setting(NamedTuple):
    """What all readings have in common; `batch` is a number of images."""

    shards: Shards
    inputs: Inputs
    reader: Reader
    kept: Kept
    batch: int
    threads: int


class _Answer(NamedTuple):
    """What a model made of a batch: rows for each kind of boxes, or the keys of images whose outputs are no numbers."""

    rows: Sequence[Sequence[Any]] = ()
    broken: Sequence[str] = ()
    nan: bool = False
    failed: str | None = None


@dataclass
class Through:
    """A model that pixels go through, for cells that differ in their boxes alone, and what has come of it.

    `failed` says why it cannot be run; `broken` has the keys of images whose outputs are no numbers, and `nan` whether
    any was NaN.
    """

    model: Noised
    session: Session
    cells: Sequence[Cell]
    broken: list[str] = field(default_factory=list)
    nan: bool = False
    failed: str | None = None

    def answer(self, batch: NDArray[Any], images: Sequence[Image], reader: Reader) -> _Answer:
        """In any thread. Raises UsageError where the model as it is fails."""
        if self.failed:
            return _Answer()
        try:
            outputs = self.session.run(batch, reader.names)
            if all(map(reader.are_scores, _floats(outputs))):
                return _Answer(reader.read(outputs, images, [cell.boxes for cell in self.cells]))
        except UsageError as error:
            if not self.model.name:
                raise
            return _Answer(failed=f"{self.model.name}: {error}")
        return _Answer(
            broken=_broken(outputs, images, reader), nan=any(np.isnan(output).any() for output in _floats(outputs))
        )

    def take(self, answer: _Answer, drafts: Sequence[Draft]) -> None:
        """In the order of images."""
        self.failed = self.failed or answer.failed
        self.broken += answer.broken
        self.nan |= answer.nan
        for draft, rows in zip(drafts, answer.rows, strict=False):  # no rows at all, where it was broken
            draft.rows += rows

    @property
    def reason(self) -> str | None:
        """Why there can be no predictions, in one line; None where there are."""
        if self.failed or not self.broken:
            return self.failed
        variant = self.cells[0].variant
        what = "NaN" if self.nan else "infinity"
        share = f"{len(self.broken):,} of {images_of(self.cells[0]):,} images of {variant.folder.name}"
        found = f"gives {what} for {share} (first: {self.broken[0]})"
        if not self.model.name:
            return f"the model {found}: is its preprocessing right?"
        half = "fp16" in self.model.name.split("+")
        return f"{self.model.name} {found}: the model {'overflows in half precision' if half else 'does not bear it'}"


def images_of(cell: Cell) -> int:
    """How many images a cell is of."""
    return int(cell.variant.summary["totals"]["samples"])


def read_through(setting: Setting, models: Sequence[Through], advance: Advance) -> None:
    """Read the pixels that the cells of `models` have in common, and keep the predictions of those without a reason.

    Raises UsageError where the model as it is cannot be run, and RunError where pixels cannot be read or predictions
    not be written; none of this reading's are kept then.
    """
    source = models[0].cells[0]

    def answers(stored: Sequence[Stored]) -> tuple[int, list[_Answer]]:
        batch, images = _batch(setting, stored)
        return len(images), [model.answer(batch, images, setting.reader) for model in models]

    def stop() -> None:
        for model in models:
            model.session.stop()

    with contextlib.ExitStack() as files:
        drafts = [[files.enter_context(setting.kept.drafting(cell)) for cell in model.cells] for model in models]
        groups = _grouped(setting.shards.stored(source.name), setting.batch)
        with contextlib.closing(in_order(answers, groups, setting.threads, stop)) as found:
            for count, of_models in found:
                for model, own, answer in zip(models, drafts, of_models, strict=True):
                    model.take(answer, own)
                    advance(model.cells[0].name, count)
        for model, own in zip(models, drafts, strict=True):
            for draft in own:
                draft.given_up = model.reason is not None


def _grouped(stored: Iterator[Stored], size: int) -> Iterable[list[Stored]]:
    while some := list(islice(stored, size)):
        yield some


def _batch(setting: Setting, stored: Sequence[Stored]) -> tuple[NDArray[Any], list[Image]]:
    batch = setting.inputs.batch(len(stored))
    images = [
        setting.inputs.place(one.key, setting.shards.info(one), pixels(setting.shards, one), into)
        for one, into in zip(stored, batch, strict=True)
    ]
    return batch, images


def pixels(shards: Shards, stored: Stored) -> NDArray[np.uint8]:
    """A sample's image as RGB uint8 of shape (height, width, 3). Raises RunError where it cannot be read."""
    found = png.read(stored.members.get("png", b""))
    return shards.pixels(stored) if found is None else found


def _broken(outputs: Outputs, images: Sequence[Image], reader: Reader) -> list[str]:
    """The keys of the images whose outputs are no numbers."""
    if len(images) == 1:
        return [images[0].key]
    floats = _floats(outputs)
    return [image.key for i, image in enumerate(images) if not all(reader.are_scores(out[i]) for out in floats)]


def _floats(outputs: Outputs) -> list[NDArray[np.float32]]:
    """The outputs that could be no numbers."""
    return [output for output in outputs.values() if output.dtype == np.float32]
