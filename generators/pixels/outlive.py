"""What becomes of a call whose process does not live: one rule for a library's process and for a program's.

A call that ends or hangs its process twice fails with that reason, as if the library had raised it. A process that
something else has killed costs nothing, unless it is killed again and again, which is for want of memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Seconds that one call may take. The slowest that is known, a 179-megapixel image through Lanczos, needs a few.
PATIENCE = 120.0
# How often a process that something else has killed is started again.
_KILLED = 3


class Died(Exception):  # noqa: N818 - not an error yet: the call is made again
    """A process has ended, or was ended, before it answered; says how. Empty where something else has killed it."""


def outlive(call: Callable[[], T]) -> T:
    """What a call returns, which may raise Died. Raises ValueError with the reason, and MemoryError."""
    deaths: list[str] = []
    while deaths.count("") < _KILLED:
        try:
            return call()
        except Died as died:
            deaths.append(str(died))
            if len(blamed := [how for how in deaths if how]) > 1:
                raise ValueError(blamed[0]) from None
    raise MemoryError("its process is killed again and again (is memory short?)")
