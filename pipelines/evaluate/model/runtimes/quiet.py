"""Keeps the messages of a runtime that writes to stderr itself off the terminal."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

# Two threads at once could each save the other's replacement as stderr.
_LOCK = threading.Lock()


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Silence stderr for all threads: only around short calls."""
    with _LOCK:
        kept = os.dup(2)
        try:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
