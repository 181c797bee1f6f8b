"""Shards against their manifests, in processes of their own: what `verify.py` and a push to the Hub rest on."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
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
    problems += spread(check_folder, folders, workers, "manifests")
    problems += spread(check_tar, records, workers, "shards")
    return problems


def show(problems: Sequence[Problem]) -> None:
    """The first problems, and how many more there are."""
    for problem in problems[:_SHOWN]:
        print(one_line(str(problem)))
    if len(problems) > _SHOWN:
        print(f"… and {len(problems) - _SHOWN:,} more")


def spread(check: Callable[[T], list[Problem]], work: Sequence[T], workers: int, what: str) -> Iterator[Problem]:
    """Run a check for each piece of work in processes of its own, with a progress bar on a terminal."""
    context = multiprocessing.get_context("spawn")
    bar = partial(tqdm, total=len(work), desc=what, disable=not sys.stderr.isatty())
    try:
        processes = max(1, min(workers, len(work)))
        with ProcessPoolExecutor(processes, mp_context=context, initializer=_quiet) as pool:
            for problems in bar(pool.map(check, work)):
                yield from problems
    except BrokenProcessPool:
        raise RunError("a worker process died; try again with fewer --workers") from None


def _quiet() -> None:
    """Keep what image libraries print about damaged files off the terminal: problems come back as values."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
