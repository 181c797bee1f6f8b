"""The interface of a file or folder that shards are read from. Implementations know how to reach it."""

from __future__ import annotations

from typing import BinaryIO, Protocol, TypeVar

P = TypeVar("P", bound="Place")


class Place(Protocol):
    """A file or folder, with nothing held open. `str(place)` is meant for people."""

    def __truediv__(self: P, name: str, /) -> P:
        """The file or folder with that name in this folder."""

    @property
    def parent(self: P) -> P: ...

    @property
    def name(self) -> str: ...

    def is_file(self) -> bool: ...

    def names(self) -> list[str]:
        """The names of everything directly in this folder, sorted; empty if the folder does not exist."""

    def files(self) -> dict[str, int]:
        """Sizes in bytes of the files directly in this folder, sorted by name; empty if the folder does not exist."""

    def folders(self) -> list[str]:
        """The names of the folders directly in this one, sorted."""

    def read(self, most: int, /) -> bytes:
        """The whole file. Raises FileNotFoundError if it does not exist, ValueError if it has more bytes."""

    def open(self) -> BinaryIO:
        """The file, fetched in blocks as it is read. Raises FileNotFoundError if it does not exist."""
