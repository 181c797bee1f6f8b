"""Memory in which images travel to and from a process: written once, read where it lies.

A block is a file in memory without a name (`memfd_create`), which the other process opens as `/proc/PID/fd/N` and makes
larger where an image does not fit. An image that was made is an array on its block, which is used again once the array
is gone: no copy is made on this side.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections import deque

import numpy as np

from generators.registry import Image

# What a block may keep to itself once it is not used: 16 MiB, an image of 2,300 x 2,300 pixels.
_KEPT = 2**24


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
            if self.size < size:
                os.ftruncate(self.number, size)
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

    def image(self, block: Block, height: int, width: int) -> Image:
        """The image that lies on a block, RGB of shape (height, width, 3); the block is free when it is gone."""
        flat = np.frombuffer(block.view(height * width * 3), np.uint8)
        weakref.finalize(flat, self.give, block).atexit = False
        return flat.reshape(height, width, 3)

    def forgotten(self) -> list[Block]:
        """The blocks that the other process has to close, once each."""
        return [self._dropped.popleft() for _ in range(len(self._dropped))]
