"""Calls into libraries, one at a time or in batches: whatever goes wrong in one is that call's failure alone.

Owns what a failure says, which begins with the method's token. Raises MemoryError where there is no memory, which is
not the sample's fault, and SystemExit where a library, or its GPU, does nothing more for this process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from generators.registry import LostError, Method, UnavailableError

Pixels = NDArray[np.uint8]
# The methods that have made a picture, in stage order.
Chain = tuple[Method, ...]
T = TypeVar("T")


class Failure(NamedTuple):
    """In place of pixels: why there are none, beginning with the token of the method that failed."""

    reason: str


class Call(NamedTuple):
    """One library's work on one sample, by the sample's key and the method's token (or the image format)."""

    key: str
    token: str


# What OpenCV (cv::Error::StsNoMem), FFmpeg (ENOMEM), C++ libraries and, of a GPU's memory, DALI say where Python would
# raise MemoryError.
_NO_MEMORY = re.compile(
    r"[Ii]nsufficient memory|Cannot allocate memory|bad_alloc"
    r"|Can't allocate \d+ bytes on|CUDA allocation failed|cudaErrorMemoryAllocation"
)


# Why there are no pixels of an empty file.
EMPTY = "the file is empty"


class Caller:
    """Makes the calls into libraries for one sample: whatever goes wrong in one is that call's failure alone.

    `made` is what has been made before it is asked for, by the methods that made it.
    """

    def __init__(self, key: str, lethal: Mapping[Call, str], tell: Callable[[Call | None], None] | None) -> None:
        self._key, self._lethal, self._tell = key, lethal, tell
        self.made: dict[Chain, Pixels | Failure] = {}

    def pixels(self, chain: Chain, call: Callable[[], Pixels]) -> Pixels | Failure:
        """What the last method of a chain makes of what the others have made."""
        if chain in self.made:
            return self.made.pop(chain)  # nobody asks twice
        made = self.attempt(chain[-1].token, call)
        return made if isinstance(made, Failure) else np.ascontiguousarray(made)

    def attempt(self, token: str, call: Callable[[], T]) -> T | Failure:
        """What the call returns. Raises MemoryError: a machine that is too small is not the sample's fault."""
        if reason := self.forbidden(token):
            return Failure(f"{token}: {reason}")
        if self._tell:
            self._tell(Call(self._key, token))
        try:
            return call()
        except (LostError, UnavailableError) as error:
            raise SystemExit(f"{token}: {error}") from error
        except Exception as error:  # every library has exceptions of its own; any of them is this sample's failure
            reason = _one_line(error)
            if isinstance(error, MemoryError) or _NO_MEMORY.search(reason):
                raise MemoryError(f"{token}: {reason}") from error
            return Failure(f"{token}: {reason}")
        finally:
            if self._tell:
                self._tell(None)

    def forbidden(self, token: str) -> str | None:
        """Why a method is not to be called for this sample; None if it may be."""
        return self._lethal.get(Call(self._key, token))


def make_batch(chain: Chain, calls: Iterable[tuple[Caller, tuple[Any, ...]]]) -> None:
    """Call the last method of a chain once for several samples; where that fails for one, nothing is made for any."""
    method = chain[-1]
    allowed = [(caller, arguments) for caller, arguments in calls if not caller.forbidden(method.token)]
    if not allowed:
        return
    try:
        made = method.load_batch()([arguments for _, arguments in allowed])
    except LostError as error:
        raise SystemExit(f"{method.token}: {error}") from error
    except Exception:  # of one sample, or all of them are too many at once: each is tried by itself when it is rendered
        return
    for (caller, _), pixels in zip(allowed, made, strict=True):
        caller.made[chain] = np.ascontiguousarray(pixels)


def decode(method: Method, data: bytes, caller: Caller, *told: int) -> Pixels | Failure:
    """The pixels of an encoded image; an empty file is not given to any library.

    `told` is what a method that shrinks, or is whole, is told besides.
    """
    if not data:
        return Failure(f"{method.token}: {EMPTY}")
    return caller.pixels((method,), lambda: method.load()(data, *told))


def _one_line(error: Exception) -> str:
    """An error's first line without what differs from run to run (addresses in memory)."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return re.sub(r" at 0x[0-9a-f]+", "", text)
