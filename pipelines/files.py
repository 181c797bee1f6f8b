"""Writes files and folders atomically, on a disk or in a store: they appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipelines.errors import RunError
from pipelines.store import Place, Remote


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path next to `path`: what is written there replaces `path` when the block ends without an error.

    Raises RunError if it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(partial)
        yield partial
        if path.is_dir():  # os.replace cannot replace a folder
            remove(path)
        os.replace(partial, path)
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error}); nothing is lost, try again") from None
    finally:
        with contextlib.suppress(OSError):
            remove(partial)


def put(place: Place, data: bytes) -> None:
    """Write a file, whole or not at all. Raises RunError if it cannot be written."""
    if isinstance(place, Remote):
        place.write(data)
    else:
        with replacing(Path(place.path)) as path:
            path.write_bytes(data)


def put_file(place: Place, path: Path) -> None:
    """Copy a file to `place`, whole or not at all. Raises RunError if it cannot be written."""
    if isinstance(place, Remote):
        with open(path, "rb") as file:
            place.write_file(file)
    else:
        with replacing(Path(place.path)) as copy:
            shutil.copyfile(path, copy)


def move(path: Path, place: Place) -> None:
    """Move a file to `place`, whole; a place on a disk must be on the same file system. Afterwards `path` is unused."""
    if isinstance(place, Remote):
        put_file(place, path)
    else:
        os.makedirs(place.parent.path, exist_ok=True)
        os.replace(path, place.path)


def remove(path: Path) -> None:
    """Remove a file, or a folder and its contents, if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def copy(source: Path, path: Path) -> None:
    """Copy a file, or a folder and its contents."""
    if source.is_dir():
        shutil.copytree(source, path)
    else:
        shutil.copyfile(source, path)
