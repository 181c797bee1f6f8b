"""Whether the cells of a record are beyond doubt, told from whole columns: in a tenth of the time that rows take.

What is not plain may still be right: whoever asks looks at it row by row then, and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from manifests.row import Kind

_HEX = b"0123456789abcdef"
_DIGEST = 64
# What str.isprintable lets through, and a name must not have; of those that paths have, a key has none.
_NO_PATH, _NO_KEY = "\\", "\\/."


def are_plain(cells: Mapping[str, Sequence[Any]], columns: pa.Schema, kind: Kind) -> bool:
    """Whether all cells are what the columns hold, and say of ordinary names that each sample was made, or was not."""
    if not all(_holds(field, cells[field.name]) for field in columns):
        return False
    keys = cells["key"]
    if not all(keys) or max(map(len, keys), default=0) > kind.longest_key or len(set(keys)) != len(keys):
        return False
    if not "".join(keys).isascii() or not _printable(keys, _NO_KEY):
        return False
    if not all(_printable(filter(None, cells[name]), _NO_PATH) for name in kind.shown if name in cells):
        return False
    return set(map(type, cells["extra"])) <= {dict} and _made_or_not(cells["status"], cells[kind.digest])


def _holds(field: pa.Field, column: Sequence[Any]) -> bool:
    kinds = set(map(type, column))
    if type(None) in kinds:
        if not field.nullable:
            return False
        kinds.discard(type(None))
        column = [cell for cell in column if cell is not None]
    if not kinds:
        return True
    if field.type == pa.string():
        return kinds == {str}
    if field.type == pa.int32():
        return kinds == {int} and min(column) >= -(2**31) and max(column) < 2**31
    return kinds <= {float, int} and (int not in kinds or max(map(abs, column)) < 2**53)


def _printable(texts: Any, refused: str) -> bool:
    text = "".join(texts)
    return text.isprintable() and not any(map(text.__contains__, refused))


def _made_or_not(status: Sequence[str], digests: Sequence[str]) -> bool:
    """Whether there is a digest where the status is `ok`, and nothing where it is `failed`."""
    made = [digest for state, digest in zip(status, digests, strict=True) if state == "ok"]
    there = [digest for digest in digests if digest]
    if set(status) > {"ok", "failed"} or len(made) + status.count("failed") != len(status) or made != there:
        return False
    digits = "".join(made)
    return set(map(len, made)) <= {_DIGEST} and digits.isascii() and not digits.encode().translate(None, _HEX)
