"""Files read only up to a size."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

# Bytes: twice the record of 100,000 rows or the summary of 100,000 shards.
LARGEST_JSON = 2**26
_BLOCK = 2**20


def read_at_most(file: BinaryIO, most: int) -> bytes:
    """The rest of a file. Raises ValueError, having read little more, if that is longer than `most` bytes."""
    parts, size = [], 0
    while part := file.read(_BLOCK):
        parts.append(part)
        size += len(part)
        if size > most:
            raise ValueError(f"it has more than {most:,} bytes")
    return b"".join(parts)


def read_file(path: Path, most: int) -> bytes:
    """A whole file. Raises OSError, and ValueError if it is not a regular file or has more than `most` bytes."""
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")
    with open(path, "rb") as file:
        return read_at_most(file, most)
