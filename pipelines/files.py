"""Files, and folders of them, that appear whole or not at all, on a disk or in a store."""

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
    """A path beside `path` to write a file or folder to, which takes its place once the block has ended well.

    Raises RunError where it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(partial)
        yield partial
        if path.is_dir():  # which nothing can take the place of
            remove(path)
        os.replace(partial, path)
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error}); nothing is lost, try again") from None
    finally:
        with contextlib.suppress(OSError):
            remove(partial)


def put(place: Place, data: bytes) -> None:
    """Put a whole file in place, or nothing. Raises RunError where it cannot be written."""
    if isinstance(place, Remote):
        place.write(data)
    else:
        with replacing(Path(place.path)) as path:
            path.write_bytes(data)


def put_file(place: Place, path: Path) -> None:
    """Put a copy of a file in place, whole, or nothing. Raises RunError where it cannot be written."""
    if isinstance(place, Remote):
        with open(path, "rb") as file:
            place.write_file(file)
    else:
        with replacing(Path(place.path)) as copy:
            shutil.copyfile(path, copy)


def move(path: Path, place: Place) -> None:
    """Put a file in place, whole, for the last time that it is needed; on a disk it must be on the same one."""
    if isinstance(place, Remote):
        put_file(place, path)
    else:
        os.makedirs(place.parent.path, exist_ok=True)
        os.replace(path, place.path)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, where there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def copy(source: Path, path: Path) -> None:
    """Copy a file, or a folder with all that is in it."""
    if source.is_dir():
        shutil.copytree(source, path)
    else:
        shutil.copyfile(source, path)
