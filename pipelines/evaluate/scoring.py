"""Scoring in pieces, one a variant: in this process what is soon done, else by processes of it, or a cluster's tasks.

A score does not depend on who finds it. A task reads predictions that lie in a store from there by itself; those on a
disk must be what all nodes see.
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

# Seconds of work that are worth starting processes, which takes them one or two.
_WORTH = 4.0


@dataclass(frozen=True)
class Job:
    """What all variants are scored with: the `task`, the `reference`, and where each one's predictions lie, by name.

    Predictions are files, or `folders` of them. A variant is scored in so many `threads`.
    """

    task: Task
    reference: FinishedVariant
    places: Mapping[str, Place]
    folders: bool
    threads: int = 1
    seen: Mapping[str, int | None] = field(default_factory=dict)


class Scored(NamedTuple):
    """A variant's score, and whether its predictions are the reference's, byte for byte."""

    score: Score
    unchanged: bool


def score_each(
    job: Job, names: Sequence[str], ray: Ray
) -> Generator[Finished[str, Scored] | Progress | None, None, None]:
    """Score these variants; yields as `crew.each` does.

    Raises UsageError where predictions are not whole, or not there for a node of the cluster.
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
    """Score variants in this process until what is left is worth others: returns that."""
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
    """Score a variant; yields how many of its images are done. `careful` makes no difference."""
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
    """The bytes of each file of predictions, as this machine sees it, by path; 0 of a folder, None of nothing."""
    there = {folder: folder.contents() for folder in {place.parent for place in job.places.values()}}
    found: dict[str, int | None] = {}
    for place in job.places.values():
        contents = there[place.parent]
        found[str(place)] = 0 if place.name in contents.folders else contents.files.get(place.name)
    return found


def problem_here(job: Job) -> str | None:
    """What is wrong with the scoring's places as this machine sees them."""
    try:
        found = _sees(job)
        job.reference.keys()
    except (OSError, SysNoiseError) as error:
        return f"not all that is scored can be read ({first_line(error)}): {SHARE}"
    other = next((path for path, size in job.seen.items() if found[path] != size), None)
    return f"{other} is not the same file there: {SHARE}" if other else None
