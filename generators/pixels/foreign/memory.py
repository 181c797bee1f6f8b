"""Memory in which images, samples and what is made of them travel to and from a process: written once, read where it
lies.

A block is a file in memory without a name (`memfd_create`), which the other process opens as `/proc/PID/fd/N` and makes
larger where something does not fit. What was made is an array on its block, which is used again once the array is gone:
no copy is made on this side.
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

# What a block may keep to itself once it is not used: 16 MiB, an image of 2,300 x 2,300 pixels.
_KEPT = 2**24


@dataclass(frozen=True)
class Kind:
    """What the items of an array are: so many values of a type, which take `size` bytes."""

    dtype: DTypeLike
    values: tuple[int, ...]
    size: int

    def shape(self, array: NDArray[Any]) -> tuple[int, ...]:
        """An array's shape in items."""
        return array.shape[: array.ndim - len(self.values)]


# RGB of 8 bits, and samples or what is made of them.
PIXELS, FLOATS = Kind(np.uint8, (3,), 3), Kind(np.float32, (), 4)


def kind_of(given: bytes | NDArray[Any]) -> Kind:
    """What is made of encoded bytes, of an image, or of samples."""
    return PIXELS if isinstance(given, bytes) or given.dtype == np.uint8 else FLOATS


class Block:
    """Some memory that both processes see, by the number of its file."""

    def __init__(self) -> None:
        self.number = os.memfd_create("sysnoise", os.MFD_CLOEXEC)
        self._map: mmap.mmap | None = None
        weakref.finalize(self, os.close, self.number)

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return os.fstat(self.number).st_size

    def view(self, size: int) -> memoryview:
        """The first `size` bytes; the block grows where it has fewer."""
        if self._map is None or len(self._map) < size:
            if self.size < max(size, 1):  # an empty file cannot be mapped
                os.ftruncate(self.number, max(size, 1))
            self._map = mmap.mmap(self.number, self.size)
        return memoryview(self._map)[:size]


class Blocks:
    """The blocks of one process: those that are free, and those that it has to forget."""

    def __init__(self) -> None:
        self._free: deque[Block] = deque()
        self._dropped: deque[Block] = deque()

    def take(self) -> Block:
        """A block that nothing lies on."""
        try:
            return self._free.pop()
        except IndexError:
            return Block()

    def give(self, block: Block) -> None:
        """A block that is not used any more."""
        (self._free if block.size <= _KEPT else self._dropped).append(block)

    def array(self, block: Block, kind: Kind, shape: Sequence[int]) -> NDArray[Any]:
        """The array that lies on a block, of so many items; the block is free when it is gone."""
        flat = np.frombuffer(block.view(math.prod(shape) * kind.size), kind.dtype)
        weakref.finalize(flat, self.give, block).atexit = False
        return flat.reshape(*shape, *kind.values)

    def forgotten(self) -> list[Block]:
        """The blocks that the other process has to close, once each."""
        return [self._dropped.popleft() for _ in range(len(self._dropped))]
