"""Local copies of predictions in an object store: each file is fetched once, however often it is read.

A table is compared with the reference's, and read again if the samples change; the reference's label maps are read with
every variant's. Files on a disk are read in place.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pipelines.ahead import in_order
from pipelines.errors import RunError, UsageError
from pipelines.progress import counted
from pipelines.store import BLOCK, Disk, Place, abandoned

# Files fetched at a time: label maps are many and small.
_THREADS = 16


class _File(NamedTuple):
    place: Place
    path: Path


@contextlib.contextmanager
def fetched(places: Mapping[str, Place], *, folders: bool) -> Iterator[dict[str, Path]]:
    """Each variant's file, or its folder of files, as a path while the block runs.

    Errors raised in the block name the user's own place for a file. Raises RunError if there is no room for copies.
    """
    away = [place for place in places.values() if not isinstance(place, Disk)]
    if not away:
        yield {name: Path(place.path) for name, place in places.items()}
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if folders:
            _fetch([file for place in away for file in _files(place, folder)])
        else:
            _fetch([_File(place, folder / place.name) for place in away])
        try:
            yield {
                name: Path(place.path) if isinstance(place, Disk) else folder / place.name
                for name, place in places.items()
            }
        except UsageError as error:
            raise UsageError(str(error).replace(temporary, str(away[0].parent))) from None


def _files(place: Place, folder: Path) -> Iterator[_File]:
    """The files of a folder, each with its path in another folder."""
    for name in place.files():
        yield _File(place / name, folder / place.name / name)


def _fetch(files: Sequence[_File]) -> None:
    given_up = threading.Event()
    for folder in {file.path.parent for file in files}:
        folder.mkdir(exist_ok=True)
    try:
        with (
            counted(len(files), "file", "files of predictions fetched") as advance,
            contextlib.closing(in_order(partial(_copy, given_up), files, _THREADS, given_up.set)) as names,
        ):
            for name in names:
                advance(name, 1)
    except OSError as error:  # the store raises errors of its own
        raise RunError(
            f"predictions cannot be fetched to {tempfile.gettempdir()} ({error.strerror or error}): make room, or set "
            "TMPDIR"
        ) from None


def _copy(given_up: threading.Event, file: _File) -> str:
    """Fetch a file and return its name. Once `given_up` is set, the store retries no more."""
    abandoned.set(given_up)
    with file.place.open() as source, open(file.path, "wb") as copy:
        shutil.copyfileobj(source, copy, BLOCK)
    return file.place.name
