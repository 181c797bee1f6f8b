"""Files and folders on a disk."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from manifests.untrusted import read_file
from pipelines.store.pieces import BLOCK, Pieces
from pipelines.store.place import Contents, Place


@dataclass(frozen=True)
class Disk(Place):
    """An absolute path."""

    path: str

    def __truediv__(self, name: str) -> Disk:
        return Disk(os.path.join(self.path, name))

    @property
    def parent(self) -> Disk:
        return Disk(os.path.dirname(self.path))

    @property
    def address(self) -> str:
        return self.path

    def is_file(self) -> bool:
        return os.path.isfile(self.path)

    def is_dir(self) -> bool:
        return os.path.isdir(self.path)

    def names(self) -> list[str]:
        return sorted(os.listdir(self.path)) if self.is_dir() else []

    def contents(self) -> Contents:
        found = Contents({}, [], [])
        if not self.is_dir():
            return found
        with os.scandir(self.path) as entries:
            for entry in entries:
                _add(entry, found)
        return Contents(dict(sorted(found.files.items())), sorted(found.folders), sorted(found.broken))

    def folders(self) -> list[str]:
        if not self.is_dir():
            return []
        with os.scandir(self.path) as entries:
            return sorted(entry.name for entry in entries if _is_folder(entry))

    def read(self, most: int) -> bytes:
        return read_file(Path(self.path), most)

    def open(self, block: int = BLOCK) -> BinaryIO:
        return open(self.path, "rb")

    def pieces(self) -> Pieces:
        return _DiskPieces(self)

    def make(self) -> None:
        os.makedirs(self.path, exist_ok=True)

    def remove(self) -> None:
        shutil.rmtree(self.path)

    def unlink(self) -> None:
        os.unlink(self.path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # as in _add
        if not entry.is_symlink():
            raise
        return False


def _add(entry: os.DirEntry[str], found: Contents) -> None:
    try:
        if entry.is_file():
            found.files[entry.name] = entry.stat().st_size
        elif entry.is_dir():
            found.folders.append(entry.name)
        elif entry.is_symlink():
            found.broken.append(entry.name)
    except OSError:  # a loop of links, or a link into a folder that may not be read
        if not entry.is_symlink():
            raise
        found.broken.append(entry.name)


class _DiskPieces(Pieces):
    def __init__(self, place: Disk) -> None:
        self._path = place.path
        self.size = os.stat(self._path).st_size

    def _read(self, offset: int, length: int) -> bytes:
        with open(self._path, "rb", buffering=0) as file:
            file.seek(offset)
            return file.read(length)
