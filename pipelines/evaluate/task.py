"""A kind of prediction: how a variant is scored against the reference, on the samples that all variants share."""

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

    `figures` are shares (0 to 1) by name, the metric first. `lost` counts for each sample what is right in the
    reference's predictions alone (int64 of shape (samples,)), `gained` what is right in the variant's alone, in all.
    `basis` is what two variants are compared by, which is the task's to know. `notes` are lines for the user.
    `by_class` has the metric's share of each class, by name, where the metric is a mean over classes. `doubt` says, of
    the reference, why no figure can be believed; it is empty where they can.
    """

    figures: Mapping[str, float]
    comparison: Comparison
    lost: NDArray[np.int64]
    gained: int
    basis: NDArray[Any]
    notes: tuple[str, ...] = ()
    by_class: Mapping[str, float] = {}  # not a proxy, which no process can send
    doubt: str = ""


class OnShards:
    """A task that looks its variants up in shards, and reads the reference's predictions beside theirs."""

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
    """Scores variants, the reference as well, against the reference's predictions."""

    @property
    def metric(self) -> str:
        """`top1`, `map` or `miou`."""
        ...

    @property
    def iou_type(self) -> str | None:
        """What `map` is of, `bbox` or `segm`; None for another metric."""
        ...

    @property
    def counted(self) -> str:
        """What is lost or gained: images, objects or pixels."""
        ...

    @property
    def keys(self) -> list[str]:
        """The samples that are scored, in order."""
        ...

    def among(self, shards: Shards) -> Self:
        """The same task, among more variants of the same samples."""
        ...

    def beside(self, reference: Path, threads: int) -> Self:
        """The same task in so many threads, where the reference's predictions lie at `reference`."""
        ...

    def between(self, better: Score, worse: Score) -> Comparison:
        """What the second costs against the first, neither of which need be the reference."""
        ...

    def score(self, variant: str, path: Path) -> Generator[int, None, Score]:
        """Score the predictions at `path`; yields how many more of its images are done.

        Raises UsageError where the predictions are not whole.
        """
        ...
