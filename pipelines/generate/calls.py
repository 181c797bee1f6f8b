"""Calls into libraries, one at a time or in batches. An error in a call is recorded as that call's failure.

Owns the text of a failure, which begins with the method's token. Raises MemoryError if memory runs out, which is not
the sample's fault, and SystemExit if a library, or its GPU, has stopped working in this process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from generators.registry import LostError, Method, UnavailableError

Pixels = NDArray[np.uint8]
# The methods that made a picture, in stage order.
Chain = tuple[Method, ...]
T = TypeVar("T")


class Failure(NamedTuple):
    """Stands in for pixels that could not be made: the reason, beginning with the token of the method that failed."""

    reason: str


class Call(NamedTuple):
    """One library's work on one sample, given by the sample's key and the method's token (or the image format)."""

    key: str
    token: str


# What OpenCV (cv::Error::StsNoMem), FFmpeg (ENOMEM), C++ libraries and DALI (for GPU memory) report when Python would
# raise MemoryError.
_NO_MEMORY = re.compile(
    r"[Ii]nsufficient memory|Cannot allocate memory|bad_alloc"
    r"|Can't allocate \d+ bytes on|CUDA allocation failed|cudaErrorMemoryAllocation"
)


# Why an empty file has no pixels.
EMPTY = "the file is empty"


class Caller:
    """Makes the calls into libraries for one sample, and turns the error of a call into its Failure.

    `made` caches pixels that a batch made in advance, by the methods that made them.
    """

    def __init__(self, key: str, lethal: Mapping[Call, str], tell: Callable[[Call | None], None] | None) -> None:
        self._key, self._lethal, self._tell = key, lethal, tell
        self.made: dict[Chain, Pixels | Failure] = {}

    def pixels(self, chain: Chain, call: Callable[[], Pixels]) -> Pixels | Failure:
        """The pixels that a chain's last method makes from the output of the others."""
        if chain in self.made:
            return self.made.pop(chain)  # each is used once
        made = self.attempt(chain[-1].token, call)
        return made if isinstance(made, Failure) else np.ascontiguousarray(made)

    def attempt(self, token: str, call: Callable[[], T]) -> T | Failure:
        """The call's result or failure. Raises MemoryError: a machine that is too small is not the sample's fault."""
        if reason := self.forbidden(token):
            return Failure(f"{token}: {reason}")
        if self._tell:
            self._tell(Call(self._key, token))
        try:
            return call()
        except (LostError, UnavailableError) as error:
            raise SystemExit(f"{token}: {error}") from error
        except Exception as error:  # every library has its own exceptions; any of them is this sample's failure
            reason = _one_line(error)
            if isinstance(error, MemoryError) or _NO_MEMORY.search(reason):
                raise MemoryError(f"{token}: {reason}") from error
            return Failure(f"{token}: {reason}")
        finally:
            if self._tell:
                self._tell(None)

    def forbidden(self, token: str) -> str | None:
        """Why a method must not be called for this sample; None if it may be."""
        return self._lethal.get(Call(self._key, token))


def make_batch(chain: Chain, calls: Iterable[tuple[Caller, tuple[Any, ...]]]) -> None:
    """Call a chain's last method once for several samples. If that fails for one, the batch is dropped."""
    method = chain[-1]
    allowed = [(caller, arguments) for caller, arguments in calls if not caller.forbidden(method.token)]
    if not allowed:
        return
    try:
        made = method.load_batch()([arguments for _, arguments in allowed])
    except LostError as error:
        raise SystemExit(f"{method.token}: {error}") from error
    except Exception:  # one bad sample, or too many at once: each is tried separately when it is rendered
        return
    for (caller, _), pixels in zip(allowed, made, strict=True):
        caller.made[chain] = np.ascontiguousarray(pixels)


def decode(method: Method, data: bytes, caller: Caller, *extra: int) -> Pixels | Failure:
    """The pixels of an encoded image. Libraries are never given an empty file.

    `extra` are the additional arguments of a method that shrinks while decoding or that does every stage.
    """
    if not data:
        return Failure(f"{method.token}: {EMPTY}")
    return caller.pixels((method,), lambda: method.load()(data, *extra))


def _one_line(error: Exception) -> str:
    """An error's first line without what varies from run to run (memory addresses)."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return re.sub(r" at 0x[0-9a-f]+", "", text)
