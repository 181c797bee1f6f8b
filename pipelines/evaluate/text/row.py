"""Rows of a task's file: the fields that they have, and the forms in which people have them.

Refuses fields that hold something else, and rows without a label, which test splits have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pipelines.evaluate.text.question import Request

Row = Mapping[str, Any]
HARNESS = "lm-evaluation-harness 0.4.13"


class RowError(ValueError):
    """A row is no question; the message says why, in a few words that follow its place."""


class UnlabelledError(RowError):
    """A row's right answer is not told."""


class Asked(NamedTuple):
    """What a row asks: as a `Question`, without its place."""

    requests: tuple[Request, ...]
    gold: int
    choices: tuple[str, ...]


class Form(NamedTuple):
    """A way in which files have a task: the fields that tell it, whose prompts are made of it, and how.

    `read` raises RowError for a row whose fields do not hold what they should.
    """

    fields: tuple[str, ...]
    protocol: str
    read: Callable[[Row], Asked]


def among(context: str, delimiter: str, choices: tuple[str, ...], gold: int) -> Asked:
    """A question after which one of some choices follows."""
    return Asked(tuple(Request(context, delimiter + choice) for choice in choices), gold, choices)


def text(row: Row, name: str) -> str:
    """A field of text that is not blank."""
    value = row[name]
    if not isinstance(value, str) or not value.strip():
        raise RowError(f"`{name}` is {_shown(value)}, not a text")
    return value


def texts(row: Row, name: str, count: int) -> tuple[str, ...]:
    """A field of so many texts, none of them blank."""
    values = row[name]
    if not isinstance(values, list) or len(values) != count:
        raise RowError(f"`{name}` is {_shown(values)}, not a list of {count} texts")
    return tuple(text({f"{name}[{place}]": value}, f"{name}[{place}]") for place, value in enumerate(values))


def label(row: Row, name: str, count: int, first: int = 0) -> int:
    """A field that says which of `count` choices is right, numbered from `first`, as a number or written; from 0."""
    value = row[name]
    if value in ("", "-1", -1, None):
        raise UnlabelledError(f"`{name}` is {_shown(value)}: a test split, whose answers are not told")
    if isinstance(value, (bool, float)) or str(value) not in map(str, range(first, first + count)):
        raise RowError(f"`{name}` is {_shown(value)}, not one of {first} to {first + count - 1}")
    return int(value) - first


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}…"
