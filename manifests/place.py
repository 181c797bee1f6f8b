"""What shards are read from: a file or folder, wherever it lies. How one is reached is its maker's to know."""

from __future__ import annotations

from typing import BinaryIO, Protocol, TypeVar

P = TypeVar("P", bound="Place")


class Place(Protocol):
    """A file or folder, of which nothing is held open. `str(place)` is what a person reads."""

    def __truediv__(self: P, name: str, /) -> P:
        """The file or folder of that name in this folder."""

    @property
    def parent(self: P) -> P: ...

    @property
    def name(self) -> str: ...

    def is_file(self) -> bool: ...

    def names(self) -> list[str]:
        """All that lies directly in this folder, sorted; empty where there is no folder."""

    def files(self) -> dict[str, int]:
        """The sizes in bytes of the files directly in this folder, by sorted name; empty where there is no folder."""

    def folders(self) -> list[str]:
        """The names of the folders directly in this one, sorted."""

    def read(self, most: int, /) -> bytes:
        """The whole file. Raises FileNotFoundError where it is not there, ValueError where it has more bytes."""

    def open(self) -> BinaryIO:
        """The file, fetched in blocks as it is read. Raises FileNotFoundError where it is not there."""
