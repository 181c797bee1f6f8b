"""Scores variants one by one: in this process if that is quick, otherwise in worker processes or a cluster's tasks.

A score does not depend on where it is computed. A task fetches predictions in a store itself; a disk must look the same
from all nodes.
"""

from __future__ import annotations

import filecmp
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from pipelines.errors import SHARE, SysNoiseError
from pipelines.evaluate.fetched import fetched
from pipelines.evaluate.task import Score, Task
from pipelines.options import cpus
from pipelines.shards import FinishedVariant
from pipelines.store import Place
from pipelines.text import first_line
from pipelines.work import Finished, Progress, Work
from pipelines.work.cluster import Ray
from pipelines.work.crew import each

# Seconds of work that are worth starting processes, which takes a second or two.
_WORTH = 4.0


@dataclass(frozen=True)
class Job:
    """What scoring needs for all variants: the `task`, the `reference`, and the place of each variant's predictions.

    Predictions are files, or folders if `folders`. A variant is scored in this many `threads`. `seen` has the sizes of
    the predictions as the driver sees them (`_sees`).
    """

    task: Task
    reference: FinishedVariant
    places: Mapping[str, Place]
    folders: bool
    threads: int = 1
    seen: Mapping[str, int | None] = field(default_factory=dict)


class Scored(NamedTuple):
    """A variant's score, and whether its predictions equal the reference's byte for byte."""

    score: Score
    unchanged: bool


def score_each(
    job: Job, names: Sequence[str], ray: Ray
) -> Generator[Finished[str, Scored] | Progress | None, None, None]:
    """Score these variants; yields as `crew.each` does.

    Raises UsageError if predictions are incomplete, or missing on a node of the cluster.
    """
    left = names
    workers = ray.cluster.workers or cpus()
    if ray.cluster.address:
        job = replace(job, seen=_sees(job))
    else:
        left = yield from _here(job, names, workers)
        job = replace(job, threads=max(1, workers // max(1, len(left))))
    if left:
        yield from each(Work(_score, job, _called), left, ray, problem_here)


def _here(
    job: Job, names: Sequence[str], workers: int
) -> Generator[Finished[str, Scored] | Progress, None, Sequence[str]]:
    """Score variants in this process; returns those left over once they are worth starting processes."""
    job = replace(job, threads=workers)
    longest = 0.0
    for place, name in enumerate(names):
        left = names[place:]
        if min(workers, len(left)) > 1 and longest * len(left) > _WORTH:
            return left
        began = time.monotonic()
        steps = _score(name, job, careful=False)
        try:
            while True:
                yield Progress(next(steps))
        except StopIteration as end:
            yield Finished(name, end.value)
        longest = max(longest, time.monotonic() - began)
    return ()


def _called(name: str) -> str:
    return f"the score of {name}"


def _score(name: str, job: Job, careful: bool) -> Generator[int, None, Scored]:
    """Score a variant; yields how many of its images are done. `careful` is ignored."""
    wanted = {which: job.places[which] for which in (job.reference.name, name)}
    with fetched(wanted, folders=job.folders) as paths:
        own, theirs = paths[name], paths[job.reference.name]
        score = yield from job.task.beside(theirs, job.threads).score(name, own)
        return Scored(score, name != job.reference.name and _same(own, theirs))


def _same(one: Path, other: Path) -> bool:
    """Whether two files, or the files of two folders, have the same bytes."""
    if one.is_file() and other.is_file():
        return filecmp.cmp(one, other, shallow=False)
    names, theirs = ({path.name for path in folder.glob("*")} for folder in (one, other))
    return names == theirs and not any(filecmp.cmpfiles(one, other, names, shallow=False)[1:])


def _sees(job: Job) -> dict[str, int | None]:
    """The size in bytes of each file of predictions on this machine, by path; 0 for a folder, None if missing."""
    there = {folder: folder.contents() for folder in {place.parent for place in job.places.values()}}
    found: dict[str, int | None] = {}
    for place in job.places.values():
        contents = there[place.parent]
        found[str(place)] = 0 if place.name in contents.folders else contents.files.get(place.name)
    return found


def problem_here(job: Job) -> str | None:
    """Why this machine cannot score: predictions or shards that it cannot read, or sees differently; None if it can."""
    try:
        found = _sees(job)
        job.reference.keys()
    except (OSError, SysNoiseError) as error:
        return f"some shards or predictions cannot be read ({first_line(error)}): {SHARE}"
    other = next((path for path, size in job.seen.items() if found[path] != size), None)
    return f"{other} is not the same file there: {SHARE}" if other else None
