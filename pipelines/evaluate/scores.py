"""A growing collection of scores: variants are added as it becomes clear which compositions are needed.

Only samples that all scored variants have count. If a new variant lacks some, all are scored again on the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pipelines.evaluate.results import Results, Unscored, compare
from pipelines.evaluate.scoring import Job, Scored, score_each
from pipelines.evaluate.task import Task
from pipelines.progress import counted
from pipelines.shards import Shards
from pipelines.store import Place
from pipelines.work import Finished, Progress
from pipelines.work.cluster import Ray

# Makes the task for shards and the path of the reference's predictions.
TaskMaker = Callable[[Shards, Path], Task]


class Scores:
    """The scores of all added variants by name, computed on `ray`'s cluster or this machine."""

    def __init__(self, make_task: TaskMaker, ray: Ray, *, folders: bool) -> None:
        self._make_task = make_task
        self._ray = ray
        self._folders = folders
        self._task: Task | None = None
        self._keys: list[str] = []
        self._scored: dict[str, Scored] = {}

    def add(self, shards: Shards, places: Mapping[str, Place], reference: Path) -> None:
        """Score the predictions at `places` that are new; they are of all variants in `shards`.

        They are files, or folders if `folders` was given; the reference's are at `reference` on this machine.
        """
        keys = shards.samples().keys
        if self._task is None or keys != self._keys:
            self._task, self._keys, self._scored = self._make_task(shards, reference), keys, {}
        self._task = self._task.among(shards)
        new = [name for name in places if name not in self._scored]
        job = Job(self._task, shards.reference, places, self._folders)
        with (
            counted(len(new) * len(self._task.keys), "img", "images scored") as advance,
            contextlib.closing(score_each(job, new, self._ray)) as steps,
        ):
            last = ""
            for step in steps:
                if isinstance(step, Finished):
                    last = step.piece
                    self._scored[last] = step.result
                advance(last, step.images if isinstance(step, Progress) else 0)

    def results(self, name: str, shards: Shards, unscored: Unscored, notes: Iterable[str]) -> Results:
        """The results of these scores, in the order of the variants in `shards`."""
        assert self._task is not None  # something was added
        scored = {variant: self._scored[variant] for variant in shards.variants if variant in self._scored}
        scores = {variant: one.score for variant, one in scored.items()}
        unchanged = {variant for variant, one in scored.items() if one.unchanged}
        return compare(name, shards, self._task, scores, unscored, unchanged, notes)
