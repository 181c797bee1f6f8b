"""Results come in order whatever the threads do; few items are in memory; a failure or an early end stops the rest."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.ahead import in_order


def nothing() -> None:
    """A `stop` with nothing to do."""


@given(st.lists(st.integers(0, 3), max_size=20), st.integers(1, 7))
def test_results_are_in_the_order_of_items(pauses: list[int], threads: int) -> None:
    def work(item: tuple[int, int]) -> int:
        time.sleep(item[1] / 10_000)
        return item[0]

    assert list(in_order(work, enumerate(pauses), threads, nothing)) == list(range(len(pauses)))


@pytest.mark.parametrize("threads", [1, 3])
def test_it_reads_only_two_items_ahead_for_each_thread(threads: int) -> None:
    drawn = 0

    def items() -> Iterator[int]:
        nonlocal drawn
        while True:
            drawn += 1
            yield drawn

    found = in_order(abs, items(), threads, nothing)
    for taken in range(1, 50):
        next(found)
        assert drawn <= taken + 2 * threads
    found.close()


def test_all_threads_work_at_once() -> None:
    together = threading.Barrier(4, timeout=60)
    list(in_order(lambda _: together.wait(), range(8), 4, nothing))


@pytest.mark.parametrize("end", ["work", "items", "taker"])
def test_running_work_is_stopped_and_waited_for(end: str) -> None:
    stopped, running = threading.Event(), threading.Event()
    ended: list[int] = []

    def work(item: int) -> int:
        if item == 1:
            running.set()
            assert stopped.wait(60)
            ended.append(item)
        elif end == "work":
            assert running.wait(60)
            raise ValueError("work")
        return item

    def items() -> Iterator[int]:
        yield from (0, 1)
        assert running.wait(60)
        if end == "items":
            raise ValueError("items")
        yield from range(2, 100)

    def take() -> None:
        with contextlib.closing(in_order(work, items(), 2, stopped.set)) as found:
            next(found)
            raise ValueError("taker")

    with pytest.raises(ValueError, match=end):
        take()
    assert ended == [1]
