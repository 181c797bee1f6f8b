"""Hash a file while something else reads it, so that its bytes are fetched only once."""

from __future__ import annotations

import hashlib
import io
import os
from typing import BinaryIO

_BLOCK = 2**20


class HashedFile(io.RawIOBase):
    """A file for a reader that mostly moves forward. Bytes that the reader skips are read only for the hash.

    `size` is in bytes. Closing this object leaves the underlying file open.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self.size = file.seek(0, os.SEEK_END)
        self._hash = hashlib.sha256()
        self._hashed = self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        self._hash_to(self._at)
        self._file.seek(self._at)
        data = self._file.read(size)
        new = data[self._hashed - self._at :]
        self._hash.update(new)
        self._hashed += len(new)
        self._at += len(data)
        return data

    def sha256(self) -> str:
        """The hash of the whole file, in hex."""
        self._hash_to(self.size)
        return self._hash.hexdigest()

    def _hash_to(self, end: int) -> None:
        if self._hashed < end:
            self._file.seek(self._hashed)
        while self._hashed < end and (data := self._file.read(min(_BLOCK, end - self._hashed))):
            self._hash.update(data)
            self._hashed += len(data)
