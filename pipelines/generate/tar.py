"""Reproducible tars: plain USTAR, every header field fixed, hashed while they are written.

Not `webdataset.TarWriter`: it writes PAX headers, which double a shard of small images and which DALI cannot read.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from typing import BinaryIO


class _Hashing(io.RawIOBase):
    """Passes writes on to a file and hashes them, so that a shard need not be read back."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:  # type: ignore[override] # only tarfile writes, and it writes bytes
        self._file.write(data)
        self.sha256.update(data)
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        return self.size


class TarWriter:
    """Writes members one after the other to an open file, which it does not close.

    `sha256` and `size` (bytes) are the whole tar's once the writer is closed.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._stream = _Hashing(file)
        self._tar = tarfile.TarFile(fileobj=self._stream, mode="w", format=tarfile.USTAR_FORMAT, encoding="utf-8")

    def add(self, name: str, data: bytes) -> None:
        """Append a regular file: mode 0644, mtime, uid and gid 0, no names of users."""
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self._tar.addfile(member, io.BytesIO(data))

    @property
    def sha256(self) -> str:
        return self._stream.sha256.hexdigest()

    @property
    def size(self) -> int:
        return self._stream.size

    def close(self) -> None:
        """Write the end of the tar."""
        self._tar.close()
