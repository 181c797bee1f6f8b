"""The cache of environments and what they are made from: `SYSNOISE_CACHE`, or a folder in the user's cache."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from generators.method import UnavailableError

# uv's output for the system errors ENOSPC and EDQUOT.
_FULL = ("No space left on device", "Disk quota exceeded")


def cache() -> Path:
    """The folder for everything that is made once per machine. Raises UnavailableError if there is no home folder."""
    if given := os.environ.get("SYSNOISE_CACHE"):
        return Path(given).absolute()
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    except RuntimeError:  # neither HOME nor a line in passwd
        raise UnavailableError(f"there is no home folder to keep other versions in: {_INSTEAD}") from None
    return Path(base) / "sysnoise"


def environments() -> Path:
    """The folder of the environments."""
    return cache() / "environments"


def wheels() -> Path:
    """A folder for wheels that cannot be downloaded here."""
    return cache() / "wheels"


def pythons() -> Path:
    """Where uv puts downloaded Pythons: next to the environments, which need them."""
    return cache() / "pythons"


_INSTEAD = "set SYSNOISE_CACHE to a writable folder"


@contextlib.contextmanager
def written() -> Iterator[None]:
    """A context for code that writes to the cache: raises UnavailableError if the system does not allow it."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full() from None
        reason = error.strerror or str(error)
        raise UnavailableError(f"{error.filename or cache()} cannot be written ({reason}): {_INSTEAD}") from None


def full() -> UnavailableError:
    """The error for a full disk."""
    return UnavailableError(f"the disk of {cache()} is full: free some of it, or {_INSTEAD}")


def reports_full(output: str) -> bool:
    """Whether a failed program reports a full disk."""
    return any(message in output for message in _FULL)
