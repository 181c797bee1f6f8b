"""Listings of tars, kept for the runs that follow: below `SYSNOISE_CACHE`, or in the user's cache folder.

A file there is named for a tar's address, size and time of writing, and counts only where it says the same of itself,
is what a listing is, and fits the tar: anything else is as if it were not there, and so is a cache that cannot be read
or written. Bounded: what was used least recently makes room. Only tars in stores are kept, since all that a disk is
asked for is their headers.
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

# What is another where listings come to say other things.
_FORMAT = 2
# Bytes of all that is kept: the tars of 100 million images, and more.
_MOST = 2**33
# Seconds after which a file that is written again has another time of writing, as stores tell it.
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
    """The listing that was packed, of the source's file of that number. Raises ValueError where it is none.

    `size`, for what may come from anybody, are the tar's bytes: members lie within them, and are no more than fit.
    """
    held = _loosened(data, None if size is None else LARGEST_JSON)
    try:
        names, places, sizes, texts = (held[name] for name in ("names", "places", "sizes", "texts"))
        for column, kind in ((names, str), (places, int), (sizes, int)):
            if type(column) is not list or set(map(type, column)) - {kind}:
                raise TypeError("a column is none")
        if type(texts) is not dict or set(map(type, texts.values())) - {str}:
            raise TypeError("its texts are none")
        if min(sizes, default=0) < 0 or min(places, default=0) < -1:
            raise ValueError("its members lie nowhere")
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
    """Raises ValueError for what is no JSON that was squeezed, or unpacks to more than `most` bytes."""
    try:
        with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
            text = stream.read() if most is None else stream.read(most + 1)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(str(error)) from None
    if most is not None and len(text) > most:
        raise ValueError(f"it unpacks to more than {most:,} bytes")
    value = parse_json(text)
    if not isinstance(value, dict):
        raise ValueError("it is no listing")
    return value


class Kept:
    """The listings that are kept of some tars, by number."""

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
        """Whether there is something to look at."""
        path = self._path(number)
        return path is not None and path.is_file()

    def get(self, number: int) -> list[Member] | None:
        """The members of a tar, or None where they are not kept."""
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
        """Keep a tar's listing, where that can be done."""
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
        """Remove what was used least recently, where too much is kept."""
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
        """The first line of a listing's file: what it is of."""
        version = self._versions[number]
        return json.dumps([_FORMAT, self._files[number].address, version.size, version.written]).encode() + b"\n"

    def _path(self, number: int) -> Path | None:
        if self._folder is None or number not in self._versions:
            return None
        return self._folder / hashlib.sha256(self._about(number)).hexdigest()


# Bytes of a first line: an address has at most some hundreds.
_LONGEST_LINE = 2**14


def _versions(files: Sequence[Place]) -> dict[int, Version]:
    """The versions of files in stores, by number: listed with their folders, where there are several in one."""
    folders: dict[Remote, list[int]] = defaultdict(list)
    for number, file in enumerate(files):
        if isinstance(file, Remote):
            folders[file.parent].append(number)
    found: dict[int, Version] = {}
    for folder, numbers in folders.items():
        told: Mapping[str, Version | None]
        if len(numbers) > 1:
            told = folder.versions()
        else:
            (file,) = (files[number] for number in numbers)
            told = {file.name: file.version()} if isinstance(file, Remote) else {}
        found.update((number, version) for number in numbers if (version := told.get(files[number].name)))
    return found
