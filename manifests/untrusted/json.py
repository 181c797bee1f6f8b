"""JSON that nests no deeper than it can be handled, with nothing in it that cannot be written again."""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from manifests.untrusted.files import LARGEST_JSON

# Levels of lists and objects; a summary has five.
_DEEPEST = 16
_LARGEST = 2**63


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Disables garbage collection, which would scan a large value again and again while it is read."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def parse_json(data: bytes | str) -> Any:
    """The value of a JSON text. Raises ValueError for anything else, such as NaN, infinities and endless nesting."""
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it contains {name}, which is not JSON")


def parse_description(data: bytes) -> Any:
    """The value of a small JSON text that can be printed, and written again unchanged.

    Raises ValueError for what `parse_json` refuses, and for duplicate keys, numbers of more than 64 bits, text that is
    not valid Unicode, deep nesting and very large files.
    """
    if len(data) > LARGEST_JSON:
        raise ValueError(f"it has more than {LARGEST_JSON:,} bytes")
    try:
        value = json.loads(data, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level = [value]
    for _ in range(_DEEPEST):
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            return value
    raise ValueError("it is nested too deeply")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("it has the same key twice")
    return found


def _inside(value: Any) -> Iterable[Any]:
    """A value's items, one level down. Raises ValueError for a text or number that cannot be written again."""
    if isinstance(value, str):
        value.encode()  # raises for half of a surrogate pair
    elif isinstance(value, (int, float)):
        if not -_LARGEST <= value < _LARGEST:
            raise ValueError("it contains a number of more than 64 bits")
    elif isinstance(value, dict):
        return (*value, *value.values())
    elif isinstance(value, list):
        return () if _is_flat(value) else value
    return ()


def _is_flat(values: list[Any]) -> bool:
    """Whether a list has only valid texts, or only valid numbers: a long list is a column."""
    kinds = set(map(type, values))
    if kinds == {str}:
        "".join(values).encode()  # raises as above
        return True
    return kinds <= {int, float} and min(values, default=0) >= -_LARGEST and max(values, default=0) < _LARGEST
