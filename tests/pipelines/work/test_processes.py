"""The real pool of processes on this machine: its results, and its error if a process dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Generator

import pytest

from pipelines.errors import RunError
from pipelines.work import Finished, Progress, Work, processes
from tests.ray_cluster import wait_for


def square(piece: int, fatal: int | None, careful: bool) -> Generator[int, None, int]:
    if piece == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    yield 2
    return piece**2


def test_every_piece_is_finished_once_and_all_progress_is_reported() -> None:
    steps = list(processes.run(Work(square, None, str), range(5), 2, 5.0))
    found = sorted((step.piece, step.result) for step in steps if isinstance(step, Finished))
    assert found == [(0, 0), (1, 1), (2, 4), (3, 9), (4, 16)]
    assert sum(step.images for step in steps if isinstance(step, Progress)) == 10


def test_a_process_that_dies_ends_the_work_in_one_line_and_leaves_no_other() -> None:
    with pytest.raises(RunError, match=r"^a worker process died; try again with fewer --workers$"):
        list(processes.run(Work(square, 2, str), range(5), 2, 5.0))
    wait_for(lambda: not multiprocessing.active_children(), seconds=10)  # they are killed, but not at once gone
