"""Shards against their manifests, in processes of their own: what `verify.py` and a push to the Hub rest on."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from tqdm import tqdm

from manifests.verify import Problem, check_card, check_folder, check_tar, records_in
from pipelines.errors import RunError
from pipelines.store import Place
from pipelines.text import one_line

_SHOWN = 10
T = TypeVar("T")


def check(folders: Sequence[Place], workers: int) -> list[Problem]:
    """Everything that is wrong with these variants: cards, manifests, and every byte and image of their tars."""
    records = [record for folder in folders for record in records_in(folder)]
    problems = [problem for root in dict.fromkeys(folder.parent for folder in folders) for problem in check_card(root)]
    with processes(min(workers, max(len(folders), len(records)))) as pool:
        problems += spread(pool, check_folder, folders, "manifests")
        problems += spread(pool, check_tar, records, "shards")
    return problems


def show(problems: Sequence[Problem]) -> None:
    """The first problems, and how many more there are."""
    for problem in problems[:_SHOWN]:
        print(one_line(str(problem)))
    if len(problems) > _SHOWN:
        print(f"… and {len(problems) - _SHOWN:,} more")


@contextlib.contextmanager
def processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """At most so many processes, and at least one, for `spread`. Raises RunError where one dies."""
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(max(1, count), mp_context=context, initializer=_quiet) as pool:
            yield pool
    except BrokenProcessPool:
        raise RunError("a worker process died; try again with fewer --workers") from None


def spread(
    pool: ProcessPoolExecutor, check: Callable[[T], list[Problem]], work: Sequence[T], what: str
) -> Iterator[Problem]:
    """Run a check for each piece of work in processes, with a progress bar on a terminal."""
    bar = tqdm(pool.map(check, work), total=len(work), desc=what, disable=not sys.stderr.isatty())
    for problems in bar:
        yield from problems


def _quiet() -> None:
    """Keep what image libraries print about damaged files off the terminal: problems come back as values."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
