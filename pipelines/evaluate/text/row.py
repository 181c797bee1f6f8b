"""Rows of a task's file: how their fields are read, and the forms in which a task is published.

Refuses fields of another kind, and rows without a label, as in test splits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pipelines.evaluate.text.question import Request

Row = Mapping[str, Any]
HARNESS = "lm-evaluation-harness 0.4.13"


class RowError(ValueError):
    """A row is not a question; the message says why, in a few words to follow the row's place."""


class UnlabelledError(RowError):
    """A row has no label."""


class Asked(NamedTuple):
    """The content of a row: a `Question` without its key."""

    requests: tuple[Request, ...]
    gold: int
    choices: tuple[str, ...]


class Form(NamedTuple):
    """A form in which a task is published: its fields, whose prompts it gives, and how a row is read.

    `read` raises RowError for a row whose fields are not as they should be.
    """

    fields: tuple[str, ...]
    protocol: str
    read: Callable[[Row], Asked]


def among(context: str, delimiter: str, choices: tuple[str, ...], gold: int) -> Asked:
    """A question whose choices all follow the same context."""
    return Asked(tuple(Request(context, delimiter + choice) for choice in choices), gold, choices)


def text(row: Row, name: str) -> str:
    """A field of text that is not blank."""
    value = row[name]
    if not isinstance(value, str) or not value.strip():
        raise RowError(f"`{name}` is {_shown(value)}, not text")
    return value


def texts(row: Row, name: str, count: int) -> tuple[str, ...]:
    """A field with `count` texts, none of them blank."""
    values = row[name]
    if not isinstance(values, list) or len(values) != count:
        raise RowError(f"`{name}` is {_shown(values)}, not a list of {count} texts")
    return tuple(text({f"{name}[{place}]": value}, f"{name}[{place}]") for place, value in enumerate(values))


def label(row: Row, name: str, count: int, first: int = 0) -> int:
    """The index, from 0, of the right one of `count` choices; the field numbers them from `first`, as int or text."""
    value = row[name]
    if value in ("", "-1", -1, None):
        raise UnlabelledError(f"`{name}` is {_shown(value)}: a test split, which has no answers")
    if isinstance(value, (bool, float)) or str(value) not in map(str, range(first, first + count)):
        raise RowError(f"`{name}` is {_shown(value)}, not one of {first} to {first + count - 1}")
    return int(value) - first


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}…"
