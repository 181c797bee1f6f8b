"""Work in pieces, done by processes of this machine: they start in a tenth of the time that Ray takes."""

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

# Set in a worker as it starts: the images that all workers have done.
_images: Any = None


def run(
    work: Work[Piece, Job, Result], pieces: Sequence[Piece], workers: int, tick: float
) -> Iterator[Finished[Piece, Result] | Progress | None]:
    """Do the pieces, by at most so many processes; yields as `engine.run` does.

    Raises RunError where a process dies, and what `work.do` raises.
    """
    context = multiprocessing.get_context("spawn")
    images = context.Value("q", 0)
    told = 0
    count = max(1, min(workers, len(pieces)))
    try:
        with ProcessPoolExecutor(count, context, _begin, (images,)) as pool:
            try:
                with _uninterrupted():
                    # The job goes with each piece: given at the start, each process would be waited for to take it.
                    running: dict[Future[Result], Piece] = {
                        pool.submit(_do, work.do, piece, work.job): piece for piece in pieces
                    }
                while running:
                    ended, _ = wait(running, tick, FIRST_COMPLETED)
                    if (now := images.value) != told:
                        yield Progress(now - told)
                        told = now
                    for future in ended:
                        yield Finished(running.pop(future), future.result())
                    if not ended:
                        yield None
            except BaseException:  # the pool would wait for all that it was given
                pool.shutdown(wait=False, cancel_futures=True)
                for process in multiprocessing.active_children():
                    process.kill()
                raise
    except BrokenProcessPool:
        raise RunError("a worker process died; try again with fewer --workers") from None


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold signals back while processes start, since one that is half started cannot be ended.

    What is started leaves Ctrl-C, of which a terminal tells all processes, to this one.
    """
    held: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _: held.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for heard in held:
        signal.raise_signal(heard)


def _begin(images: Any) -> None:
    """Keep what image libraries print about damaged files off the terminal: that comes back as values."""
    global _images
    _images = images
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _end_with_parent() -> None:
    """End this process where the one that started it is killed, which would be waited for without end."""
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
