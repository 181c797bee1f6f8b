"""Ray's connection, which a signal does not interrupt: it is heard when that stands.

While a driver connects, Ray has a handler of its own for SIGTERM, which aborts the process, and an exception in the
middle leaves behind what crashes it as it ends. What is replaced here is private to Ray, whose version is pinned.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

from ray._private import worker

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def connecting() -> Iterator[None]:
    """Within it, `ray.init` is to be called, in the main thread; signals get the handlers that they have here."""
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    connect = worker.connect
    worker.connect = lambda *words, **more: _uninterrupted(handlers, connect, *words, **more)
    try:
        yield
    finally:
        worker.connect = connect


def _uninterrupted(handlers: dict[signal.Signals, Any], connect: Callable[..., Any], *words: Any, **more: Any) -> Any:
    heard: list[int] = []
    for number in _SIGNALS:
        signal.signal(number, lambda signum, _: heard.append(signum))
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # also by the threads that Ray starts
    try:
        return connect(*words, **more)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        for each in heard:
            signal.raise_signal(each)
