"""A cache of tars' listings for later runs: below `SYSNOISE_CACHE`, or in the user's cache folder.

A cached file is named after a tar's address, size and modification time. It is used only if its content states the
same, is a valid listing, and fits the tar; anything else is ignored, as is a cache that cannot be read or written. The
cache is bounded: the least recently used files are deleted. Only tars in stores are cached, since on a disk only their
headers are read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from generators.pixels.foreign.cache import cache
from generators.registry import UnavailableError
from manifests.untrusted import LARGEST_JSON, parse_json
from pipelines.generate.sources.base import BROKEN
from pipelines.generate.sources.members import Member
from pipelines.store import Place, Remote, Version

# To be changed whenever the content of listings changes.
_FORMAT = 2
# Bytes of the whole cache: enough for the tars of 100 million images.
_MOST = 2**33
# Seconds after which a rewritten file is sure to get another modification time from a store.
_SETTLED = 2.0


def pack(members: Sequence[Member]) -> bytes:
    """A tar's listing as bytes."""
    held = {
        "names": [member.name for member in members],
        "places": [-1 if member.place == BROKEN else member.place[-1] for member in members],
        "sizes": [member.size for member in members],
        "texts": {str(index): member.text.decode("latin-1") for index, member in enumerate(members) if member.text},
    }
    return _squeezed(json.dumps(held, separators=(",", ":")).encode())


def unpack(data: bytes, number: int, size: int | None = None) -> list[Member]:
    """The inverse of `pack`, for the source's file with this number. Raises ValueError for anything else.

    For untrusted data, `size` is the tar's size in bytes: members must lie within it, and be no more than fit.
    """
    held = _loosened(data, None if size is None else LARGEST_JSON)
    try:
        names, places, sizes, texts = (held[name] for name in ("names", "places", "sizes", "texts"))
        for column, kind in ((names, str), (places, int), (sizes, int)):
            if type(column) is not list or set(map(type, column)) - {kind}:
                raise TypeError("a column is invalid")
        if type(texts) is not dict or set(map(type, texts.values())) - {str}:
            raise TypeError("its texts are invalid")
        if min(sizes, default=0) < 0 or min(places, default=0) < -1:
            raise ValueError("its members have negative places")
        read = {int(index): text.encode("latin-1") for index, text in texts.items()}
        found = [
            Member(name, BROKEN if place < 0 else (number, place), length, read.get(index, b""))
            for index, (name, place, length) in enumerate(zip(names, places, sizes, strict=True))
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(str(error)) from None
    if size is not None and any(place + length > size for place, length in zip(places, sizes, strict=True)):
        raise ValueError("its members lie beyond the tar's end")
    return found


def _squeezed(text: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(text)
    return bytes(sink.getvalue())


def _loosened(data: bytes, most: int | None) -> Any:
    """Raises ValueError for data that is not compressed JSON, or that unpacks to more than `most` bytes."""
    try:
        with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
            text = stream.read() if most is None else stream.read(most + 1)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(str(error)) from None
    if most is not None and len(text) > most:
        raise ValueError(f"it unpacks to more than {most:,} bytes")
    value = parse_json(text)
    if not isinstance(value, dict):
        raise ValueError("it is not a listing")
    return value


class Kept:
    """The cached listings of some tars, by number."""

    def __init__(self, files: Sequence[Place]) -> None:
        self._files = files
        self._versions: Mapping[int, Version] = {}
        self._folder: Path | None = None
        if not any(isinstance(file, Remote) for file in files):
            return
        with contextlib.suppress(UnavailableError, OSError):
            self._folder = cache() / "listings"
            self._folder.mkdir(parents=True, exist_ok=True)
            self._versions = _versions(files)

    def holds(self, number: int) -> bool:
        """Whether there is a cached file to look at."""
        path = self._path(number)
        return path is not None and path.is_file()

    def get(self, number: int) -> list[Member] | None:
        """The members of a tar, or None if they are not cached."""
        path = self._path(number)
        if path is None:
            return None
        try:
            with open(path, "rb") as file:
                about, data = file.readline(_LONGEST_LINE), file.read(LARGEST_JSON)
            if about != self._about(number):
                return None
            found = unpack(data, number, self._versions[number].size)
            os.utime(path)
        except (OSError, ValueError):
            return None
        return found

    def put(self, number: int, packed: bytes) -> None:
        """Cache a tar's listing if possible."""
        path = self._path(number)
        if path is None or time.time() < self._versions[number].written / 1e9 + _SETTLED:
            return
        with contextlib.suppress(OSError), tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            try:
                file.write(self._about(number) + packed)
                file.close()
                os.replace(file.name, path)
            except OSError:
                os.unlink(file.name)
                raise

    def make_room(self) -> None:
        """Delete the least recently used listings if the cache is too large."""
        if self._folder is None:
            return
        with contextlib.suppress(OSError):
            held = sorted(
                (entry.stat().st_mtime, entry.stat().st_size, entry.path) for entry in os.scandir(self._folder)
            )
            left = sum(size for _, size, _ in held)
            for _, size, path in held:
                if left <= _MOST:
                    return
                os.unlink(path)
                left -= size

    def _about(self, number: int) -> bytes:
        """The first line of a listing's file, which identifies the tar."""
        version = self._versions[number]
        return json.dumps([_FORMAT, self._files[number].address, version.size, version.written]).encode() + b"\n"

    def _path(self, number: int) -> Path | None:
        if self._folder is None or number not in self._versions:
            return None
        return self._folder / hashlib.sha256(self._about(number)).hexdigest()


# Bytes of the first line: an address has some hundreds at most.
_LONGEST_LINE = 2**14


def _versions(files: Sequence[Place]) -> dict[int, Version]:
    """The versions of files in stores, by number. Several in one folder are listed together."""
    folders: dict[Remote, list[int]] = defaultdict(list)
    for number, file in enumerate(files):
        if isinstance(file, Remote):
            folders[file.parent].append(number)
    found: dict[int, Version] = {}
    for folder, numbers in folders.items():
        versions: Mapping[str, Version | None]
        if len(numbers) > 1:
            versions = folder.versions()
        else:
            (file,) = (files[number] for number in numbers)
            versions = {file.name: file.version()} if isinstance(file, Remote) else {}
        found.update((number, version) for number in numbers if (version := versions.get(files[number].name)))
    return found
