"""What Ray runs in its workers: a piece of work, as a stream of its progress, or one call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import ray


class Ended(NamedTuple):
    """The result of a piece, and its images that were not reported yet."""

    result: Any
    images: int


def _progress(pause: float, do: Callable[..., Any], *words: Any) -> Iterator[int | Ended]:
    """Process a piece: yields how many more images are done, every `pause` seconds, and finally its result."""
    steps = do(*words)
    images, last = 0, time.monotonic()
    while True:
        try:
            images += next(steps)
        except StopIteration as end:
            yield Ended(end.value, images)
            return
        if (now := time.monotonic()) - last >= pause:
            yield images
            images, last = 0, now


@ray.remote(num_cpus=1, max_retries=0, num_returns="streaming")
def process(pause: float, do: Callable[..., Any], *words: Any) -> Iterator[int | Ended]:
    """Process a piece on one CPU."""
    yield from _progress(pause, do, *words)


@ray.remote(num_cpus=0, max_retries=0)
def call(do: Callable[..., Any], *words: Any) -> Any:
    """Call a function, on a node that may be busy."""
    return do(*words)


class _Gpu:
    """Holds one GPU for the length of the run, so that a library is set up there only once."""

    def call(self, do: Callable[..., Any], *words: Any) -> Any:
        return do(*words)

    def process(self, pause: float, do: Callable[..., Any], *words: Any) -> Iterator[int | Ended]:
        yield from _progress(pause, do, *words)


GpuActor: Any = ray.remote(num_gpus=1, num_cpus=0, max_restarts=0, max_task_retries=0)(_Gpu)
