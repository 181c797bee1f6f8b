"""The tasks, a module each: `METRICS`, how answers are scored, and `FORMS`, the forms in which files have the task."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from pipelines.evaluate.text.row import Form

TASKS = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


class Task(Protocol):
    """A module of this package; a row has the first form whose fields are all in it."""

    METRICS: tuple[str, ...]
    FORMS: tuple[Form, ...]


def task_of(name: str) -> Task:
    """One of `TASKS`."""
    return cast("Task", importlib.import_module(f"{__name__}.{name}"))
