"""Places that files are read from and put into: on a disk, or in an object store (`s3://`, `gs://`) by pyarrow.fs.

Owns what differs between the two: how a folder is listed, which troubles of a store pass and are waited for, and what
is said of those that do not. Refuses URIs that carry credentials. A place is an address, never a connection or a key:
it can be sent to workers, which log in with what their own environment holds.
"""

from __future__ import annotations

import functools
import io
import mmap
import os
import re
import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_after_delay,
    stop_when_event_set,
    wait_exponential_jitter,
)

from manifests.untrusted import read_file
from pipelines.errors import RunError, UsageError
from pipelines.progress import say

T = TypeVar("T")

SCHEMES = ("s3", "gs")
# Seconds for which a store that does not answer is asked again, and at most between two questions.
PATIENCE, _LONGEST_WAIT = 300.0, 20.0
# Bytes that are fetched at a time where a file is read in pieces.
BLOCK = 2**22

# Set by who no longer waits for the answers of a thread: it stops asking a store that does not answer.
abandoned: ContextVar[threading.Event] = ContextVar("abandoned", default=threading.Event())  # noqa: B039 - never set

# The AWS SDK's names (aws-cpp-sdk-core, CoreErrors.h), HTTP's statuses and Google's canonical codes for what passes.
_PASSING = re.compile(
    r"NETWORK_CONNECTION|SLOW_DOWN|THROTTLING|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|REQUEST_TIMEOUT|REQUEST_EXPIRED"
    r"|HTTP status (429|5\d\d)|UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|curlCode|CURL error"
)
_DENIED = re.compile(
    r"ACCESS_DENIED|SIGNATURE_DOES_NOT_MATCH|INVALID_ACCESS_KEY_ID|INVALID_CLIENT_TOKEN|MISSING_AUTHENTICATION_TOKEN"
    r"|INVALID_SIGNATURE|EXPIRED_TOKEN|PERMISSION_DENIED|UNAUTHENTICATED|HTTP status 40[13]"
)
_ABSENT = re.compile(r"NO_SUCH_BUCKET|bucket does not exist|NOT_FOUND")


class StoreError(RunError):
    """An object store denies access, or has not answered for as long as it is waited for."""


class Pieces(ABC):
    """A file of `size` bytes, any part of which can be read by any thread. Holds nothing that must be closed."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """The bytes from `offset` on: fewer than `length` at the file's end."""
        length = max(0, min(length, self.size - offset))
        return self._read(offset, length) if length else b""

    @abstractmethod
    def _read(self, offset: int, length: int) -> bytes: ...


class Contents(NamedTuple):
    """What lies directly in a folder, sorted by name: files with their sizes in bytes, folders, links to nowhere.

    Any other link is what it leads to.
    """

    files: dict[str, int]
    folders: list[str]
    broken: list[str]


class Version(NamedTuple):
    """What changes with a file's content: its size in bytes, and when it was written last, in ns since 1970.

    S3 tells whole seconds: two files of a size that were written in one second have the same version.
    """

    size: int
    written: int


class Place(ABC):
    """A file or folder. `place / "name"` is one below it; `str(place)` is what a person reads."""

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
        """Whether it is a folder; in an object store, whether anything lies below it."""

    @abstractmethod
    def names(self) -> list[str]:
        """All that lies directly in this folder, sorted; empty where there is no folder."""

    @abstractmethod
    def contents(self) -> Contents:
        """All that lies directly in this folder, listed once; empty where there is no folder."""

    def files(self) -> dict[str, int]:
        """The sizes in bytes of the files directly in this folder, by sorted name; empty where there is no folder."""
        return self.contents().files

    @abstractmethod
    def folders(self) -> list[str]:
        """The names of the folders directly in this one, sorted."""

    @abstractmethod
    def read(self, most: int) -> bytes:
        """The whole file. Raises FileNotFoundError where it is not there, ValueError where it has more bytes."""

    @abstractmethod
    def open(self, block: int = BLOCK) -> BinaryIO:
        """The file, fetched from a store `block` bytes at a time. Raises FileNotFoundError where it is not there."""

    @abstractmethod
    def pieces(self) -> Pieces:
        """The file, for threads that read it at once. Raises FileNotFoundError where it is not there."""

    @abstractmethod
    def make(self) -> None:
        """Make the folder where it is not there and the store has such things."""

    @abstractmethod
    def remove(self) -> None:
        """Remove a folder and all that is in it."""

    @abstractmethod
    def unlink(self) -> None:
        """Remove a file."""

    @property
    @abstractmethod
    def address(self) -> str:
        """What a user writes for it: `place_of` reads it as this place."""

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
                _sort_in(entry, found)
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
    except OSError:  # as below
        if not entry.is_symlink():
            raise
        return False


def _sort_in(entry: os.DirEntry[str], found: Contents) -> None:
    try:
        if entry.is_file():
            found.files[entry.name] = entry.stat().st_size
        elif entry.is_dir():
            found.folders.append(entry.name)
        elif entry.is_symlink():
            found.broken.append(entry.name)
    except OSError:  # links that lead to one another, or to where nobody may look
        if not entry.is_symlink():
            raise
        found.broken.append(entry.name)


@dataclass(frozen=True)
class Remote(Place):
    """A URI of an object store. `query` is what pyarrow.fs takes of it: `endpoint_override=…&region=…`.

    A bucket is what the root is on a disk: its own parent, and without a name.
    Every call waits for a store that does not answer or says that it is busy, and raises StoreError in the end.
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
        """What pyarrow.fs calls it: `bucket/folder/name`."""
        return self.path.partition("://")[2]

    def _ask(self, question: Callable[[fs.FileSystem], T]) -> T:
        scheme, _, rest = self.path.partition("://")
        bucket = rest.partition("/")[0]
        return _patiently(self, lambda: question(_connect(f"{scheme}://{bucket}", self.query)))

    def _type(self) -> fs.FileType:
        return self._ask(lambda store: store.get_file_info(self._key).type)

    def is_file(self) -> bool:
        return bool(self._type() == fs.FileType.File)

    def is_dir(self) -> bool:
        return bool(self._type() == fs.FileType.Directory)

    def _entries(self) -> list[fs.FileInfo]:
        selector = fs.FileSelector(self._key, allow_not_found=True)
        found: list[fs.FileInfo] = self._ask(lambda store: store.get_file_info(selector))
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
        """The file's version, where the store tells of one."""
        return _version(self._ask(lambda store: store.get_file_info(self._key)))

    def versions(self) -> dict[str, Version]:
        """The versions of the files directly in this folder, by name."""
        found = {info.base_name: _version(info) for info in self._entries()}
        return {name: version for name, version in found.items() if version}

    def read(self, most: int) -> bytes:
        def fetch(store: fs.FileSystem) -> bytes:
            with store.open_input_file(self._key) as file:
                if file.size() > most:
                    raise ValueError(f"it has more than {most:,} bytes")
                data: bytes = file.readall()
                return data

        return self._ask(fetch)

    def open(self, block: int = BLOCK) -> BinaryIO:
        return cast("BinaryIO", io.BufferedReader(PiecesFile(self.pieces()), block))

    def pieces(self) -> Pieces:
        return _RemotePieces(self)

    def write(self, data: bytes | memoryview) -> None:
        """Put a whole object in place, or nothing."""

        def upload(store: fs.FileSystem) -> None:
            # One call with all of it: a stream that is closed after a part of it would leave that part as the object.
            with store.open_output_stream(self._key) as stream:
                stream.write(pa.py_buffer(data))

        self._ask(upload)

    def write_file(self, file: BinaryIO) -> None:
        """Put all of a file on this machine in place, or nothing. It is not to change, and not to be empty."""
        # Not closed here: an error that is on its way may still hold it.
        self.write(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))

    def make(self) -> None:
        pass

    def remove(self) -> None:
        self._ask(lambda store: store.delete_dir(self._key))

    def unlink(self) -> None:
        self._ask(lambda store: store.delete_file(self._key))


def _version(info: fs.FileInfo) -> Version | None:
    if info.type != fs.FileType.File or info.mtime_ns is None:
        return None
    return Version(info.size, info.mtime_ns)


class _DiskPieces(Pieces):
    def __init__(self, place: Disk) -> None:
        self._path = place.path
        self.size = os.stat(self._path).st_size

    def _read(self, offset: int, length: int) -> bytes:
        with open(self._path, "rb", buffering=0) as file:
            file.seek(offset)
            return file.read(length)


class _RemotePieces(Pieces):
    """Each piece is fetched as patiently as whole files are."""

    def __init__(self, place: Remote) -> None:
        self._place = place
        self._file = place._ask(lambda store: store.open_input_file(place._key))
        self.size = int(self._file.size())

    def _read(self, offset: int, length: int) -> bytes:
        data: bytes = self._place._ask(lambda store: self._file.read_at(length, offset))
        return data


class PiecesFile(io.RawIOBase):
    """Pieces as Python's own libraries read files."""

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
        """As any file does, but that no memory is taken for what lies beyond the file's end."""
        data = self._pieces.read(self._at, self._pieces.size if size < 0 else size)
        self._at += len(data)
        return data

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # readers hand over nothing else
        data = self._pieces.read(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def place_of(text: str, option: str) -> Place:
    """What a user wrote after `option`, a path or a URI, as a place.

    Raises UsageError for other schemes, and for credentials in the URI, which it does not repeat.
    """
    if "://" not in text:
        return Disk(os.path.abspath(text))
    scheme = text.partition("://")[0].lower()
    parts = urlsplit(text)
    if "@" in parts.netloc and parts.netloc != f"anonymous@{parts.netloc.rpartition('@')[2]}":
        raise UsageError(
            f"{option} holds credentials, which would end up in logs: leave them out, and set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY (or GOOGLE_APPLICATION_CREDENTIALS) in the environment"
        )
    if scheme == "file":
        return Disk(os.path.abspath(fs.FileSystem.from_uri(text)[1]))
    if scheme not in SCHEMES:
        raise UsageError(f"{option} {text}: give a path, or a URI that begins with s3://, gs:// or file://")
    bucket = parts.netloc.rpartition("@")[2]
    if not bucket:
        raise UsageError(f"{option} {text} names no bucket: write {scheme}://BUCKET/FOLDER")
    place = Remote(f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}", parts.query)
    try:
        place.is_dir()
    except (pa.ArrowInvalid, ValueError) as error:
        raise UsageError(f"{option} {text} is no URI that pyarrow.fs takes ({error})") from None
    return place


def path_of(text: str, option: str) -> Path:
    """What a user wrote after `option`, which must be a path. Raises UsageError for a URI."""
    if "://" in text:
        raise UsageError(f"{option} {text} is a URI, and this must lie on a disk: give a path")
    return Path(text)


@functools.cache
def _connect(bucket: str, query: str) -> fs.FileSystem:
    return fs.FileSystem.from_uri(f"{bucket}?{query}" if query else bucket)[0]


def _patiently(place: Remote, question: Callable[[], T]) -> T:
    """An answer, asked for again and again for as long as what goes wrong may pass."""

    def tell(state: RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome:
            say(f"{place} does not answer ({_reason(state.outcome.exception())}): trying again for {PATIENCE:.0f} s")

    given_up = abandoned.get()
    attempts = Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, OSError) and bool(_PASSING.search(str(error)))),
        wait=wait_exponential_jitter(multiplier=0.5, max=_LONGEST_WAIT),
        stop=stop_after_delay(PATIENCE) | stop_when_event_set(given_up),
        sleep=sleep_using_event(given_up),
        before_sleep=tell,
        reraise=True,
    )
    try:
        return attempts(question)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _explained(place, error) from None


def _explained(place: Remote, error: OSError) -> Exception:
    text = str(error)
    if _DENIED.search(text):
        return StoreError(f"{place}: access denied ({_reason(error)}): see to the credentials and their rights")
    if _ABSENT.search(text):
        return UsageError(f"{place}: there is no such bucket ({_reason(error)}): create it, or name another")
    return StoreError(
        f"{place}: the store failed ({_reason(error)}): whole shards are kept; run the same command again"
    )


def _reason(error: BaseException | None) -> str:
    """What a store's error says, without the request around it: `AWS Error ACCESS_DENIED during PutObject`."""
    text = " ".join(str(error).split())
    aws = re.search(r"AWS Error .*?(?= operation:)", text)
    google = re.search(r"google::cloud::Status\((\w+): (.{0,100})", text)
    return aws.group() if aws else ": ".join(google.groups()) if google else text[:150]
