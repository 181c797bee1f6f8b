"""Top-1 and top-5 accuracy against the shards' labels."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.evaluate.chance import classes as chance
from pipelines.evaluate.chance.given import Given
from pipelines.evaluate.class_tables import read_classes
from pipelines.evaluate.statistics import Comparison, paired_proportions
from pipelines.evaluate.task import OnShards, Score
from pipelines.shards import Samples, Shards


class _Hits(NamedTuple):
    """Whether the label is the first predicted class, and whether it is among the first five (None if only one is
    predicted); shape (samples,).
    """

    first: NDArray[np.bool_]
    five: NDArray[np.bool_] | None


class Classification(OnShards):
    """Scores tables of classes; samples without a label are skipped."""

    metric = "top1"
    counted = "images"

    def __init__(self, shards: Shards, reference: Path, offset: int = 0, given: Given | None = None) -> None:
        self._shards = shards
        self._offset = offset
        self._given = given or Given(offset=offset)
        self._samples = labelled(shards)
        classes = self._classes(shards.reference.name, reference)
        self._theirs = self._hits(classes)
        self._doubt = chance.doubt(classes[:, 0], self._samples.labels, self._given)

    @property
    def keys(self) -> list[str]:
        return self._samples.keys

    def score(self, variant: str, path: Path) -> Generator[int, None, Score]:
        hits, reference = self._hits(self._classes(variant, path)), self._theirs
        lost = (reference.first & ~hits.first).astype(np.int64)
        gained = int((~reference.first & hits.first).sum())
        figures = {"top1": float(hits.first.mean())}
        if hits.five is not None:
            figures["top5"] = float(hits.five.mean())
        comparison = paired_proportions(int(lost.sum()), gained, len(lost))
        doubt = self._doubt if variant == self._shards.reference.name else ""
        yield len(lost)
        return Score(figures, comparison, lost, gained, hits.first, doubt=doubt)

    def between(self, better: Score, worse: Score) -> Comparison:
        lost, gained = better.basis & ~worse.basis, worse.basis & ~better.basis
        return paired_proportions(int(lost.sum()), int(gained.sum()), len(lost))

    def _classes(self, variant: str, path: Path) -> NDArray[np.int64]:
        """The predicted classes of the scored samples, from a table that must have all of the variant's samples."""
        keys = self._shards.variants[variant].keys()
        place = {key: index for index, key in enumerate(keys)}
        classes = read_classes(path, keys, self._offset)[[place[key] for key in self._samples.keys]]
        _check_shift(path, classes[:, 0], self._samples.labels, self._given)
        return classes

    def _hits(self, classes: NDArray[np.int64]) -> _Hits:
        hits = classes == self._samples.labels[:, None]
        return _Hits(hits[:, 0], hits.any(axis=1) if classes.shape[1] > 1 else None)


def labelled(shards: Shards) -> Samples:
    """The samples with labels. Raises UsageError if there are none."""
    samples = shards.samples().only_labelled()
    if not samples.keys:
        raise UsageError(f"no sample in {shards.root} has a label: generate it again with --labels")
    return samples


def _check_shift(path: Path, classes: NDArray[np.int64], labels: NDArray[np.int64], given: Given) -> None:
    """Raises UsageError if predictions are far better with 1 subtracted or added: another class numbering."""
    as_is = float((classes == labels).mean())
    for shift in (1, -1):
        moved = float((classes - shift == labels).mean())
        if moved > 0.1 + 2 * as_is:
            raise UsageError(
                f"{path}: top-1 is {as_is:.1%}, but {moved:.1%} with 1 "
                f"{'subtracted from' if shift > 0 else 'added to'} every class, so class numbers are off by one: "
                f"{given.shifted(shift)}"
            )
