"""Keeping a runtime's own words off the terminal, for one that writes them to stderr itself."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

# Two threads at a time could each keep what the other has put in stderr's place.
_ONE = threading.Lock()


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep stderr quiet, of all threads: for short calls."""
    with _ONE:
        kept = os.dup(2)
        try:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
