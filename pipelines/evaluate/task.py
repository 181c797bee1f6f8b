"""Tasks: how a kind of prediction is scored against the reference's, on the samples that all variants share."""

from __future__ import annotations

import copy
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluate.statistics import Comparison
from pipelines.shards import Shards

if TYPE_CHECKING:
    from typing_extensions import Self


class Score(NamedTuple):
    """One variant's score.

    `figures` are shares (0 to 1) by name, the metric first. `lost` counts, for each sample, what only the reference's
    predictions get right (int64 of shape (samples,)); `gained` counts what only the variant's get right, in total.
    `basis` is what the task compares two variants by. `notes` are lines for the user. `by_class` has each class's share
    by name if the metric is a mean over classes. The reference's `doubt` says why no figure can be trusted, and is
    empty if they can.
    """

    figures: Mapping[str, float]
    comparison: Comparison
    lost: NDArray[np.int64]
    gained: int
    basis: NDArray[Any]
    notes: tuple[str, ...] = ()
    by_class: Mapping[str, float] = {}  # not a mapping proxy, which cannot be pickled
    doubt: str = ""


class OnShards:
    """A task that finds its variants in shards and reads the reference's predictions for each of them."""

    iou_type: str | None = None
    _shards: Shards
    _reference: Path
    _threads: int

    def among(self, shards: Shards) -> Self:
        found = copy.copy(self)
        found._shards = shards
        return found

    def beside(self, reference: Path, threads: int) -> Self:
        found = copy.copy(self)
        found._reference, found._threads = reference, threads
        return found


class Task(Protocol):
    """Scores variants, and the reference itself, against the reference's predictions."""

    @property
    def metric(self) -> str:
        """`top1`, `map` or `miou`."""
        ...

    @property
    def iou_type(self) -> str | None:
        """`bbox` or `segm` for the metric `map`; None for others."""
        ...

    @property
    def counted(self) -> str:
        """The unit of what is lost or gained: images, objects or pixels."""
        ...

    @property
    def keys(self) -> list[str]:
        """The keys of the scored samples, in order."""
        ...

    def among(self, shards: Shards) -> Self:
        """A copy for more variants of the same samples."""
        ...

    def beside(self, reference: Path, threads: int) -> Self:
        """A copy that uses this many threads and finds the reference's predictions at `reference`."""
        ...

    def between(self, better: Score, worse: Score) -> Comparison:
        """What the second variant costs compared with the first; neither has to be the reference."""
        ...

    def score(self, variant: str, path: Path) -> Generator[int, None, Score]:
        """Score the predictions at `path`; yields how many more images are done.

        Raises UsageError if the predictions are incomplete.
        """
        ...
