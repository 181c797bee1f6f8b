"""Retries calls whose process dies: the same rule for a library's process and for an external program.

A call that crashes or hangs its process twice fails with that reason, as if the library had raised it. A process killed
from outside is started again; if it is killed repeatedly, memory is probably short.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Timeout of a call, in seconds. The slowest known, a 179-megapixel image through Lanczos, takes a few.
TIMEOUT = 120.0
# How often a process may be killed from outside.
_MAX_KILLS = 3


class Died(Exception):  # noqa: N818 - not an error yet: the call is made again
    """A process ended before it answered; the message says how, and is empty if it was killed from outside."""


def retried(call: Callable[[], T]) -> T:
    """The result of a call that may raise Died. Raises ValueError with the reason, and MemoryError."""
    deaths: list[str] = []
    while deaths.count("") < _MAX_KILLS:
        try:
            return call()
        except Died as died:
            deaths.append(str(died))
            if len(blamed := [how for how in deaths if how]) > 1:
                raise ValueError(blamed[0]) from None
    raise MemoryError("its process is killed again and again (is memory short?)")
