"""What a file or folder can be asked, wherever it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

from pipelines.store.pieces import BLOCK, Pieces


class Contents(NamedTuple):
    """The entries of a folder, sorted by name: files with their sizes in bytes, folders, and broken links.

    A link that is not broken counts as what it points to.
    """

    files: dict[str, int]
    folders: list[str]
    broken: list[str]


class Place(ABC):
    """A file or folder. `place / "name"` is an entry of it; `str(place)` is for people to read."""

    path: str

    @abstractmethod
    def __truediv__(self, name: str) -> Place: ...

    @property
    @abstractmethod
    def parent(self) -> Place: ...

    @abstractmethod
    def is_file(self) -> bool: ...

    @abstractmethod
    def is_dir(self) -> bool:
        """Whether it is a folder; in an object store, whether there is anything below it."""

    @abstractmethod
    def names(self) -> list[str]:
        """The names of all entries of this folder, sorted; empty if there is no folder."""

    @abstractmethod
    def contents(self) -> Contents:
        """All entries of this folder, from one listing; empty if there is no folder."""

    def files(self) -> dict[str, int]:
        """The sizes in bytes of the files in this folder, by sorted name; empty if there is no folder."""
        return self.contents().files

    @abstractmethod
    def folders(self) -> list[str]:
        """The names of the folders in this one, sorted."""

    @abstractmethod
    def read(self, most: int) -> bytes:
        """The whole file. Raises FileNotFoundError if it does not exist, ValueError if it has over `most` bytes."""

    @abstractmethod
    def open(self, block: int = BLOCK) -> BinaryIO:
        """Open the file; a store is read `block` bytes at a time. Raises FileNotFoundError if there is no file."""

    @abstractmethod
    def pieces(self) -> Pieces:
        """The file, for several threads to read. Raises FileNotFoundError if it does not exist."""

    @abstractmethod
    def make(self) -> None:
        """Create the folder if it does not exist; object stores have none to create."""

    @abstractmethod
    def remove(self) -> None:
        """Remove a folder and its contents."""

    @abstractmethod
    def unlink(self) -> None:
        """Remove a file."""

    @property
    @abstractmethod
    def address(self) -> str:
        """What a user would write for it, so that `place_of(address)` is this place."""

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def stem(self) -> str:
        return PurePosixPath(self.path).stem

    @property
    def suffix(self) -> str:
        """The file's extension in lower case, with its dot."""
        return PurePosixPath(self.path).suffix.lower()

    def __str__(self) -> str:
        return self.path
