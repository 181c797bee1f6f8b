"""Shared memory in which inputs and results travel to and from a process: written once, and read in place.

A block is an anonymous file in memory (`memfd_create`). The other process opens it as `/proc/PID/fd/N`, and enlarges it
if a result does not fit. A result is an array on its block, which is reused once the array is garbage-collected, so
this side makes no copy.
"""

from __future__ import annotations

import math
import mmap
import os
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

# The largest block that is kept for reuse: 16 MiB, an image of 2,300 x 2,300 pixels.
_KEPT = 2**24


@dataclass(frozen=True)
class Kind:
    """The items of an array: a dtype, the shape of an item's values, and its size in bytes."""

    dtype: DTypeLike
    values: tuple[int, ...]
    size: int

    def shape(self, array: NDArray[Any]) -> tuple[int, ...]:
        """An array's shape in items."""
        return array.shape[: array.ndim - len(self.values)]


# 8-bit RGB pixels; and samples, or the results for them.
PIXELS, FLOATS = Kind(np.uint8, (3,), 3), Kind(np.float32, (), 4)


def kind_of(given: bytes | NDArray[Any]) -> Kind:
    """The kind of the result for encoded bytes, an image or samples."""
    return PIXELS if isinstance(given, bytes) or given.dtype == np.uint8 else FLOATS


class Block:
    """Memory that both processes see, identified by its file descriptor."""

    def __init__(self) -> None:
        self.number = os.memfd_create("sysnoise", os.MFD_CLOEXEC)
        self._map: mmap.mmap | None = None
        weakref.finalize(self, os.close, self.number)

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return os.fstat(self.number).st_size

    def view(self, size: int) -> memoryview:
        """The first `size` bytes; the block grows if it is smaller."""
        if self._map is None or len(self._map) < size:
            if self.size < max(size, 1):  # an empty file cannot be mapped
                os.ftruncate(self.number, max(size, 1))
            self._map = mmap.mmap(self.number, self.size)
        return memoryview(self._map)[:size]


class Blocks:
    """The blocks of one process: free ones, and those that it has to close."""

    def __init__(self) -> None:
        self._free: deque[Block] = deque()
        self._dropped: deque[Block] = deque()

    def take(self) -> Block:
        """A free block."""
        try:
            return self._free.pop()
        except IndexError:
            return Block()

    def give(self, block: Block) -> None:
        """Return a block that is no longer used."""
        (self._free if block.size <= _KEPT else self._dropped).append(block)

    def array(self, block: Block, kind: Kind, shape: Sequence[int]) -> NDArray[Any]:
        """The array of this shape, in items, on a block, which becomes free when the array is gone."""
        flat = np.frombuffer(block.view(math.prod(shape) * kind.size), kind.dtype)
        weakref.finalize(flat, self.give, block).atexit = False
        return flat.reshape(*shape, *kind.values)

    def forgotten(self) -> list[Block]:
        """The blocks that the other process has to close, each of them once."""
        return [self._dropped.popleft() for _ in range(len(self._dropped))]
