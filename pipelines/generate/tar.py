"""Reproducible tars: plain USTAR, every header field fixed, hashed while they are written.

Not `webdataset.TarWriter`: it writes PAX headers, which double a shard of small images and which DALI cannot read.
"""

from __future__ import annotations

import hashlib
import tarfile
from typing import BinaryIO


def member(name: str, data: bytes) -> bytes:
    """A regular file as a tar stores it: mode 0644, mtime, uid and gid 0, no user names.

    Raises ValueError if USTAR cannot hold the name.
    """
    about = tarfile.TarInfo(name)
    about.size = len(data)
    header = about.tobuf(tarfile.USTAR_FORMAT, "utf-8")
    return b"".join((header, data, bytes(-len(data) % tarfile.BLOCKSIZE)))


class TarWriter:
    """Writes members one after another to an open file, which it does not close.

    `sha256` and `size` (bytes) cover what has been written so far: the whole tar, once the writer is closed.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def add(self, name: str, data: bytes) -> None:
        """Append a regular file. Raises ValueError as `member` does."""
        self.append(member(name, data))

    def append(self, members: bytes) -> None:
        """Append whole members, as returned by `member`."""
        self._file.write(members)
        self._hash.update(members)
        self.size += len(members)

    def close(self) -> None:
        """Write the end of the tar: two empty blocks, padded to a whole record."""
        end = self.size + 2 * tarfile.BLOCKSIZE
        self.append(bytes(end + -end % tarfile.RECORDSIZE - self.size))

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()
