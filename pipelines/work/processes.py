"""Work in pieces, done by processes of this machine, which start in a tenth of the time that Ray takes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from pipelines.errors import RunError
from pipelines.work import Finished, Job, Piece, Progress, Result, Work

# Set when a worker starts: the number of images that all workers have done.
_images: Any = None


def run(
    work: Work[Piece, Job, Result], pieces: Sequence[Piece], workers: int, tick: float
) -> Iterator[Finished[Piece, Result] | Progress | None]:
    """Process the pieces in at most `workers` processes; yields what `engine.run` does.

    Raises RunError if a process dies, and what `work.do` raises.
    """
    context = multiprocessing.get_context("spawn")
    images = context.Value("q", 0)
    reported = 0
    count = max(1, min(workers, len(pieces)))
    try:
        with ProcessPoolExecutor(count, context, _begin, (images,)) as pool:
            try:
                with _uninterrupted():
                    # The job is sent with each piece: as an argument of `_begin`, it would delay each process's start.
                    running: dict[Future[Result], Piece] = {
                        pool.submit(_do, work.do, piece, work.job): piece for piece in pieces
                    }
                while running:
                    ended, _ = wait(running, tick, FIRST_COMPLETED)
                    if (now := images.value) != reported:
                        yield Progress(now - reported)
                        reported = now
                    for future in ended:
                        yield Finished(running.pop(future), future.result())
                    if not ended:
                        yield None
            except BaseException:  # the pool would wait for all submitted pieces
                pool.shutdown(wait=False, cancel_futures=True)
                for process in multiprocessing.active_children():
                    process.kill()
                raise
    except BrokenProcessPool:
        raise RunError("a worker process died; try again with fewer --workers") from None


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Delay signals while processes start, since a half-started process cannot be ended.

    The processes inherit a blocked SIGINT: a terminal sends Ctrl-C to all of them, and only this one should handle it.
    """
    delayed: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _: delayed.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for signum in delayed:
        signal.raise_signal(signum)


def _begin(images: Any) -> None:
    """Set up a worker process. What image libraries print about damaged files is dropped: errors are returned."""
    global _images
    _images = images
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _end_with_parent() -> None:
    """End this process when its parent is killed: it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)


def _do(do: Callable[[Any, Any, bool], Generator[int, None, Any]], piece: Any, job: Any) -> Any:
    steps = do(piece, job, False)
    while True:
        try:
            more = next(steps)
        except StopIteration as end:
            return end.value
        with _images.get_lock():
            _images.value += more
