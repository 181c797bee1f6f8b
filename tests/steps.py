"""Runs the generators by which workers report progress."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

Result = TypeVar("Result")


def result_of(steps: Generator[Any, None, Result]) -> Result:
    """A generator's return value, after running it to the end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Result = end.value
            return found
