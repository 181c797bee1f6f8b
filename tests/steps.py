"""What workers do, as generators of their progress: done here and now."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

Result = TypeVar("Result")


def result_of(steps: Generator[Any, None, Result]) -> Result:
    """What a generator returns once all of it has been taken."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Result = end.value
            return found
