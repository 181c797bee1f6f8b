"""Where environments lie, and what they are made of: below `SYSNOISE_CACHE`, or in the user's cache folder."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from generators.registry import UnavailableError

# What uv says where the system says ENOSPC or EDQUOT.
_FULL = ("No space left on device", "Disk quota exceeded")


def cache() -> Path:
    """The folder of all that is made once on a machine. Raises UnavailableError where there is no home for it."""
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
    """Where wheels may be put that cannot be fetched."""
    return cache() / "wheels"


def pythons() -> Path:
    """Where uv puts the Pythons that it downloads: beside the environments, which are of no use without them."""
    return cache() / "pythons"


_INSTEAD = "set SYSNOISE_CACHE to a folder that can be written to"


@contextlib.contextmanager
def written() -> Iterator[None]:
    """Around what writes to the cache. Raises UnavailableError where the system does not let it."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full() from None
        reason = error.strerror or str(error)
        raise UnavailableError(f"{error.filename or cache()} cannot be written ({reason}): {_INSTEAD}") from None


def full() -> UnavailableError:
    """What is said where there is no room."""
    return UnavailableError(f"the disk of {cache()} is full: free some of it, or {_INSTEAD}")


def says_full(said: str) -> bool:
    """Whether a program that has failed says that there is no room."""
    return any(sentence in said for sentence in _FULL)
