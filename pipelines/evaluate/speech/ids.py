"""The input of an acoustic model for each recording: ids of characters or phonemes, by key.

Refuses recordings without ids or with two lists of them, and lists that are not integers.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.evaluate.speech.arrays import DAMAGED
from pipelines.store import Place
from pipelines.text import first_line, number_of

_LARGEST = 2**31
_MOST = 2**31 - 1  # since some models take int32
_HOW = 'JSON lines {"key": …, "ids": […]}, or an .npz of arrays by key'


@dataclass(frozen=True)
class Ids:
    """Ids (length,) by key, and the digest of their file."""

    by_key: Mapping[str, NDArray[np.int64]]
    sha256: str


def read_ids(place: Place, keys: Sequence[str]) -> Ids:
    """The ids of these recordings. Raises UsageError if some have none, or the file is not in either format."""
    try:
        data = place.read(_LARGEST)
    except FileNotFoundError:
        raise UsageError(f"--ids {place} is not a file: give {_HOW}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"--ids {place} cannot be read ({first_line(error)})") from None
    try:
        rows = list(_of_arrays(data) if data[:2] == b"PK" else _of_lines(data))
    except DAMAGED as error:  # RuntimeError also if JSON lists are nested too deeply
        raise UsageError(f"--ids {place}: {first_line(error)}; give {_HOW}") from None
    found = dict(rows)
    if len(found) < len(rows):
        names = [key for key, _ in rows]
        twice = next(key for key in found if names.count(key) > 1)
        raise UsageError(f"--ids {place} has {twice} more than once: keep one of them")
    if lacking := [key for key in keys if key not in found]:
        raise UsageError(
            f"--ids {place} lacks {len(lacking):,} of {number_of(len(keys), 'recording')} (first: {lacking[0]}): add "
            "their ids"
        )
    return Ids({key: found[key] for key in keys}, hashlib.sha256(data).hexdigest())


def _of_arrays(data: bytes) -> Iterator[tuple[str, NDArray[np.int64]]]:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        for key in arrays.files:
            yield key, _checked(key, arrays[key])


def _of_lines(data: bytes) -> Iterator[tuple[str, NDArray[np.int64]]]:
    for number, line in enumerate(data.decode("utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            key, ids = str(row["key"]), row["ids"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"line {number} has no key and ids ({first_line(error)})") from None
        yield key, _checked(key, ids)


def _checked(key: str, ids: Any) -> NDArray[np.int64]:
    values = np.asarray(ids)
    if values.dtype.kind not in "iu" or values.ndim != 1 or not len(values) or np.abs(values).max() > _MOST:
        raise ValueError(f"{key} has no list of 32-bit integers")
    return values.astype(np.int64)
