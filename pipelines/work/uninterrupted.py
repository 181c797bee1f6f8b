"""Ray's start, which a signal does not interrupt where that would crash the process: it is heard a little later.

Ray has a handler of its own for SIGTERM while a driver connects, which aborts the process, and runs it in whichever of
its threads gets the signal; an exception in the middle leaves behind what crashes the process as it ends. What is
replaced here is private to Ray, whose version is pinned.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

from ray._private import services, worker

from pipelines.work.local_ray import replaced

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def connecting() -> Iterator[None]:
    """Within it, `ray.init` is to be called, in the main thread."""
    connect = _wrapped(_with_handlers_kept, worker.connect)
    start = _wrapped(_unblocked, services.start_ray_process)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # for the threads that Ray starts as well
    try:
        with replaced(worker, "connect", connect), replaced(services, "start_ray_process", start):
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _wrapped(within: Callable[[], contextlib.AbstractContextManager[None]], do: Callable[..., Any]) -> Any:
    def done(*words: Any, **more: Any) -> Any:
        with within():
            return do(*words, **more)

    return done


@contextlib.contextmanager
def _with_handlers_kept() -> Iterator[None]:
    """Signals that threads of other libraries get are heard afterwards, by the handlers that there are now."""
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    heard: list[int] = []
    for number in _SIGNALS:
        signal.signal(number, lambda signum, _: heard.append(signum))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for signum in heard:
            signal.raise_signal(signum)


@contextlib.contextmanager
def _unblocked() -> Iterator[None]:
    """What is started here can be told to end."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
