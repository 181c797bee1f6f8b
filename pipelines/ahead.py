"""Process a stream in several threads, ahead of the consumer, which gets the results in order.

For work that releases Python's global lock. Memory use does not grow with the stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Items in memory for each thread: one in progress and one waiting.
_ITEMS_PER_THREAD = 2


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int, stop: Callable[[], None]
) -> Generator[Result, None, None]:
    """Yield `work(item)` for each item. Close it: items already started are waited for, however it ends.

    If it ends early, `stop` is called first; it should interrupt the other threads' work.
    """
    waiting = deque[Future[Result]]()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) == threads * _ITEMS_PER_THREAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BaseException:
            stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
