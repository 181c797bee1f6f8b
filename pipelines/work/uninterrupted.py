"""Starts Ray without interruption: a signal that would crash the process then is handled a little later.

While a driver connects, Ray has its own handler for SIGTERM, which aborts the process, in whichever of its threads gets
the signal. An exception in the middle leaves a state that crashes the process when it ends. What is patched here is
private to Ray, whose version is pinned.
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
    """A block in which `ray.init` can be called, in the main thread."""
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
    """Restore the current handlers afterwards, and let them handle signals that other threads got meanwhile."""
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    delayed: list[int] = []
    for number in _SIGNALS:
        signal.signal(number, lambda signum, _: delayed.append(signum))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for signum in delayed:
            signal.raise_signal(signum)


@contextlib.contextmanager
def _unblocked() -> Iterator[None]:
    """Unblock the signals, so that processes started here can be ended by them."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
