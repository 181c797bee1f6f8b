"""Files and folders in an object store, by pyarrow.fs."""

from __future__ import annotations

import functools
import io
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, TypeVar, cast

import pyarrow as pa
from pyarrow import fs

from pipelines.store.pieces import BLOCK, Pieces, PiecesFile
from pipelines.store.place import Contents, Place
from pipelines.store.retry import retrying

T = TypeVar("T")


class Version(NamedTuple):
    """What changes with a file's content: its size in bytes, and when it was last written, in ns since 1970.

    S3 reports whole seconds: files of equal size that were written within one second have the same version.
    """

    size: int
    written: int


@dataclass(frozen=True)
class Remote(Place):
    """A URI of an object store. `query` holds its options for pyarrow.fs: `endpoint_override=…&region=…`.

    A bucket is like the root of a disk: it is its own parent, and has no name. Every call retries while the store does
    not answer or is busy, and finally raises StoreError.
    """

    path: str
    query: str = ""

    def __truediv__(self, name: str) -> Remote:
        return Remote(f"{self.path}/{name}", self.query)

    @property
    def parent(self) -> Remote:
        return Remote(self.path.rpartition("/")[0], self.query) if self.name else self

    @property
    def name(self) -> str:
        return self._key.rpartition("/")[2] if "/" in self._key else ""

    @property
    def address(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def _key(self) -> str:
        """Its path in pyarrow.fs: `bucket/folder/name`."""
        return self.path.partition("://")[2]

    def _request(self, work: Callable[[fs.FileSystem], T]) -> T:
        scheme, _, rest = self.path.partition("://")
        bucket = rest.partition("/")[0]
        return retrying(self, lambda: work(_connect(f"{scheme}://{bucket}", self.query)))

    def _type(self) -> fs.FileType:
        return self._request(lambda store: store.get_file_info(self._key).type)

    def is_file(self) -> bool:
        return bool(self._type() == fs.FileType.File)

    def is_dir(self) -> bool:
        return bool(self._type() == fs.FileType.Directory)

    def _entries(self) -> list[fs.FileInfo]:
        selector = fs.FileSelector(self._key, allow_not_found=True)
        found: list[fs.FileInfo] = self._request(lambda store: store.get_file_info(selector))
        return sorted(found, key=lambda info: str(info.base_name))

    def names(self) -> list[str]:
        return [info.base_name for info in self._entries()]

    def contents(self) -> Contents:
        found = Contents({}, [], [])
        for info in self._entries():
            if info.type == fs.FileType.File:
                found.files[info.base_name] = info.size
            elif info.type == fs.FileType.Directory:
                found.folders.append(info.base_name)
        return found

    def folders(self) -> list[str]:
        return [info.base_name for info in self._entries() if info.type == fs.FileType.Directory]

    def version(self) -> Version | None:
        """The file's version; None if the store reports none."""
        return _version(self._request(lambda store: store.get_file_info(self._key)))

    def versions(self) -> dict[str, Version]:
        """The versions of the files in this folder, by name."""
        found = {info.base_name: _version(info) for info in self._entries()}
        return {name: version for name, version in found.items() if version}

    def read(self, most: int) -> bytes:
        def fetch(store: fs.FileSystem) -> bytes:
            with store.open_input_file(self._key) as file:
                if file.size() > most:
                    raise ValueError(f"it has more than {most:,} bytes")
                data: bytes = file.readall()
                return data

        return self._request(fetch)

    def open(self, block: int = BLOCK) -> BinaryIO:
        return cast("BinaryIO", io.BufferedReader(PiecesFile(self.pieces()), block))

    def pieces(self) -> Pieces:
        return _RemotePieces(self)

    def write(self, data: bytes | memoryview) -> None:
        """Write an object, whole or not at all."""

        def upload(store: fs.FileSystem) -> None:
            # In one call: a stream that is closed after some of the data would leave an object with only that data.
            with store.open_output_stream(self._key) as stream:
                stream.write(pa.py_buffer(data))

        self._request(upload)

    def write_file(self, file: BinaryIO) -> None:
        """Write a local file's contents, whole or not at all. The file must not be empty, nor change meanwhile."""
        # The mmap is not closed here: an exception may still refer to it.
        self.write(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))

    def make(self) -> None:
        pass

    def remove(self) -> None:
        self._request(lambda store: store.delete_dir(self._key))

    def unlink(self) -> None:
        self._request(lambda store: store.delete_file(self._key))


def _version(info: fs.FileInfo) -> Version | None:
    if info.type != fs.FileType.File or info.mtime_ns is None:
        return None
    return Version(info.size, info.mtime_ns)


class _RemotePieces(Pieces):
    def __init__(self, place: Remote) -> None:
        self._place = place
        self._file = place._request(lambda store: store.open_input_file(place._key))
        self.size = int(self._file.size())

    def _read(self, offset: int, length: int) -> bytes:
        data: bytes = self._place._request(lambda store: self._file.read_at(length, offset))
        return data


@functools.cache
def _connect(bucket: str, query: str) -> fs.FileSystem:
    return fs.FileSystem.from_uri(f"{bucket}?{query}" if query else bucket)[0]
