"""A run's hold on an output folder on a disk: its lock, its private folder, and errors about space and rights."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from pipelines.errors import RunError, UsageError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def hold(folder: Path, run: str, output: str) -> Iterator[None]:
    """Hold `folder` (`.run/`) with its lock and the run's private folder in it, and remove it all at the end.

    Whatever a killed run left there is removed first. `output` is the output's name in messages. Raises UsageError if
    the folder cannot be written to, or if another run holds it, and RunError if there is no space.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise UsageError(f"another run is writing to {output}: wait for it, or choose another --output") from None
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise cannot_write(output, error) from None
        raise UsageError(f"cannot write to {output} ({error.strerror}): choose another --output") from None
    own = folder / run
    try:
        try:
            _clear(folder, Path(lock.lock_file).name)
            own.mkdir()
        except OSError as error:
            raise cannot_write(output, error) from None
        yield
    finally:
        _take_away(own)
        with contextlib.suppress(OSError):
            os.unlink(lock.lock_file)
            folder.rmdir()
        lock.release()


def _clear(folder: Path, lock: str) -> None:
    for left in folder.iterdir():
        if left.is_dir():
            _take_away(left)
        elif left.name != lock:
            left.unlink()


def _take_away(folder: Path) -> None:
    """Remove a folder that workers may still write to. It is renamed first, so that they do not find it."""
    with contextlib.suppress(OSError):
        folder = folder.rename(folder.with_name(uuid.uuid4().hex))
    shutil.rmtree(folder, ignore_errors=True)


def cannot_write(where: str, error: OSError) -> RunError:
    """The error of a run that cannot write to a place."""
    if error.errno in _NO_ROOM:
        return RunError(f"no space left at {where}: whole shards are kept; make room and run the same command again")
    return RunError(f"cannot write to {where} ({error.strerror or error}): whole shards are kept")
