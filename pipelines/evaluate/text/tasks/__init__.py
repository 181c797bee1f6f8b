"""The tasks, a module each, found by its name: `METRICS`, what answers are worth, and `FORMS`, how files have it."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from pipelines.evaluate.text.row import Form

TASKS = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


class Task(Protocol):
    """A module of this package; a row's form is the first whose fields it has."""

    METRICS: tuple[str, ...]
    FORMS: tuple[Form, ...]


def task_of(name: str) -> Task:
    """One of `TASKS`."""
    return cast("Task", importlib.import_module(f"{__name__}.{name}"))
