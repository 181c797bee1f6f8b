"""Reading a part of a file at a time, from several threads."""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod

# Bytes fetched at a time when a file is read in pieces.
BLOCK = 2**22


class Pieces(ABC):
    """A file of `size` bytes, any part of which any thread can read. Has nothing that must be closed."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on; fewer at the end of the file."""
        length = max(0, min(length, self.size - offset))
        return self._read(offset, length) if length else b""

    @abstractmethod
    def _read(self, offset: int, length: int) -> bytes: ...


class PiecesFile(io.RawIOBase):
    """Pieces as a Python file object."""

    def __init__(self, pieces: Pieces) -> None:
        super().__init__()
        self._pieces = pieces
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._pieces.size}[whence]
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """As RawIOBase's, except that no memory is allocated for bytes beyond the end of the file."""
        data = self._pieces.read(self._at, self._pieces.size if size < 0 else size)
        self._at += len(data)
        return data

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # readers pass nothing else
        data = self._pieces.read(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
