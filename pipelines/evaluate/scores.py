"""Scores that grow: variants are added while it is found out which compositions are needed.

Only samples that all scored variants have count. Where a new variant lacks some, all are scored again on the rest.
"""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pipelines.evaluate.results import Results, Unscored, compare
from pipelines.evaluate.shards import Shards
from pipelines.evaluate.task import Score, Task
from pipelines.progress import counted

# Makes the task for these shards, of which this is the reference's file.
TaskMaker = Callable[[Shards, Path], Task]


class Scores:
    """The scores of all variants that were added, by name."""

    def __init__(self, make_task: TaskMaker) -> None:
        self._make_task = make_task
        self._task: Task | None = None
        self._keys: list[str] = []
        self._scores: dict[str, Score] = {}

    def add(self, shards: Shards, paths: Mapping[str, Path]) -> None:
        """Score what is new of these predictions, which are of all variants in `shards`."""
        keys = shards.samples().keys
        if self._task is None or keys != self._keys:
            self._task, self._keys, self._scores = self._make_task(shards, paths[shards.reference.name]), keys, {}
        self._task = self._task.among(shards)
        new = [name for name in paths if name not in self._scores]
        with counted(len(new), "variant", "variants scored") as advance:
            for name in new:
                self._scores[name] = self._task.score(name, paths[name])
                advance(name, 1)

    def results(
        self, name: str, shards: Shards, paths: Mapping[str, Path], unscored: Unscored, notes: Iterable[str]
    ) -> Results:
        """What they mean, in the order of the variants in `shards`."""
        assert self._task is not None  # something was added
        scores = {variant: self._scores[variant] for variant in shards.variants if variant in self._scores}
        return compare(name, shards, self._task, scores, unscored, _unchanged(shards.reference.name, paths), notes)


def _unchanged(reference: str, paths: Mapping[str, Path]) -> set[str]:
    """The variants whose predictions are the reference's, byte for byte."""
    return {name for name, path in paths.items() if name != reference and _same(path, paths[reference])}


def _same(one: Path, other: Path) -> bool:
    """Whether two files, or the files of two folders, have the same bytes."""
    if one.is_file() and other.is_file():
        return filecmp.cmp(one, other, shallow=False)
    names, theirs = ({path.name for path in folder.glob("*")} for folder in (one, other))
    return names == theirs and not any(filecmp.cmpfiles(one, other, names, shallow=False)[1:])
