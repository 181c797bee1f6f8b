"""Work on a stream in several threads, ahead of whoever takes the results, who gets them in order.

For work that lets go of Python's lock. What is in memory does not grow with the stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Items in memory for each thread: one that is worked on, and one whose turn is next.
_FOR_A_THREAD = 2


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int, stop: Callable[[], None]
) -> Generator[Result, None, None]:
    """What `work` makes of each item. To be closed: what has been begun is waited for, however it ends.

    `stop` is called first where it ends early, and is to end what other threads are at.
    """
    waiting = deque[Future[Result]]()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) == threads * _FOR_A_THREAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BaseException:
            stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
