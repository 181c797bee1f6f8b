"""Checks that JSON from anyone has the expected fields, each of the expected type."""

from __future__ import annotations

import contextlib
import re
import reprlib
from typing import Any

# A name that becomes a folder, or a word on a command line.
NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_+-]|\.(?!\.)){0,199}(?<!\.)")
SHA256 = re.compile(r"[0-9a-f]{64}")
COUNT = range(2**63)
NUMBER = (float, COUNT)


def expect(value: Any, shape: Any, where: str) -> None:
    """Raises TypeError if a JSON value does not fit a shape.

    A shape is a type, a pattern, a range of numbers, None, a list with the shape of its items, a dict of the required
    fields, or a tuple of alternatives.
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
