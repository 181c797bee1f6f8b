"""Whether JSON from anybody has the fields that it should, each of its kind."""

from __future__ import annotations

import contextlib
import re
import reprlib
from typing import Any

# A name that becomes a folder's, or a word of a command.
NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_+-]|\.(?!\.)){0,199}(?<!\.)")
SHA256 = re.compile(r"[0-9a-f]{64}")
COUNT = range(2**63)
NUMBER = (float, COUNT)


def expect(value: Any, shape: Any, where: str) -> None:
    """Raises TypeError where a JSON value is not of a shape.

    A shape is a type, a pattern, a range of numbers, None, a list of what its items are, a dict of the fields that must
    be there, or a tuple of shapes of which one must do.
    """
    if isinstance(shape, tuple):
        for one in shape:
            with contextlib.suppress(TypeError):
                return expect(value, one, where)
    if isinstance(shape, dict) and isinstance(value, dict):
        for key, inner in shape.items():
            if key not in value:
                raise TypeError(f"{where} has no {key}")
            expect(value[key], inner, key)
    elif isinstance(shape, list) and isinstance(value, list):
        for inner in value:
            expect(inner, shape[0], f"a part of {where}")
    elif not _fits(value, shape):
        raise TypeError(f"{where} is {reprlib.repr(value)}")


def _fits(value: Any, shape: Any) -> bool:
    if isinstance(shape, re.Pattern):
        return isinstance(value, str) and shape.fullmatch(value) is not None
    if isinstance(shape, range):
        return type(value) is int and value in shape
    return value is None if shape is None else type(value) is shape
