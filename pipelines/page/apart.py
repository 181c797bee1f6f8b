"""How far variants are apart, and where in a frame: measured on the samples, one of every variant at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.errors import RunError
from pipelines.page.opened import OpenedSet
from pipelines.shards import Shards, Stored

# Bytes of the results of one sample, which are in memory together: a set may come from anybody.
_MOST_BYTES = 2 * 2**30
# Frames of several sizes are reduced to this one before they are added up: (width, height).
_GRID = (128, 128)

Results = Sequence[NDArray[Any]]


class Apart(NamedTuple):
    """Means over samples of the differences between groups: float64 of shape (groups, groups), NaN if no sample can be
    compared. `maps` has the mean absolute difference from the reference at each place; None for the reference itself.
    """

    distances: NDArray[np.float64]
    maps: Sequence[NDArray[np.float32] | None]


def measure(
    of: OpenedSet, keys: Collection[str], shown: Collection[str], look: Callable[[str, Results], None]
) -> Apart:
    """Compare the groups on the samples with these keys. `look` gets the results of each sample to be shown, one per
    group.

    Raises RunError if a tar cannot be read.
    """
    count = len(of.groups)
    total, compared = np.zeros((count, count)), np.zeros((count, count), np.int64)
    base = of.groups.index(of.reference) if of.reference else None
    maps = [_Map() for _ in of.groups]
    for key, results in _together(of, sorted({*keys, *shown})):
        if key in shown:
            look(key, results)
        if key not in keys:
            continue
        for row in range(count):
            for column in range(row):
                if (found := of.measure.between(results[row], results[column])) is not None:
                    total[row, column] += found
                    compared[row, column] += 1
        if base is not None:
            for place, result in enumerate(results):
                if place != base and of.measure.between(result, results[base]) is not None:
                    maps[place].add(of.measure.where(result, results[base]))
    distances = np.divide(total, compared, out=np.full_like(total, np.nan), where=compared > 0)
    distances = np.where(np.tri(count, dtype=bool), distances, distances.T)
    np.fill_diagonal(distances, 0)
    return Apart(distances, [one.mean() for one in maps])


def _together(of: OpenedSet, keys: Sequence[str]) -> Iterator[tuple[str, Results]]:
    """The results of each sample, one per group."""
    read = of.shards.mel if of.shards.speech else of.shards.pixels
    several = [_in_order(of.shards, group.name, keys) for group in of.groups]
    for key, *stored in zip(keys, *several, strict=True):
        results: list[NDArray[Any]] = []
        for one in stored:
            results.append(read(one))
            if not results[-1].size or sum(result.nbytes for result in results) > _MOST_BYTES:
                raise RunError(f"{key} is too large to be compared, or empty")
        yield key, results


def _in_order(shards: Shards, name: str, keys: Sequence[str]) -> Iterator[Stored]:
    place = 0
    for place, stored in enumerate(shards.stored(name, keys), 1):
        if place > len(keys) or stored.key != keys[place - 1]:
            break
        yield stored
    else:
        if place == len(keys):
            return
    raise RunError(f"the tars of {name} do not have the samples of their manifest: run verify.py")


class _Map:
    """The mean absolute difference at each place, over frames of one size, or of several reduced to one."""

    def __init__(self) -> None:
        self._total: NDArray[np.float32] | None = None
        self._count = 0

    def add(self, difference: NDArray[Any]) -> None:
        if self._total is None:
            self._total = np.zeros(difference.shape, np.float32)
        if self._total.shape != difference.shape:
            self._total = _reduced(self._total)
            difference = _reduced(difference.astype(np.float32))
        # Sums of whole numbers are exact in single precision up to 2**24.
        cv2.accumulate(np.ascontiguousarray(difference), self._total)
        self._count += 1

    def mean(self) -> NDArray[np.float32] | None:
        if self._total is None:
            return None
        found: NDArray[np.float32] = self._total / np.float32(self._count)
        return found.mean(axis=2, dtype=np.float32) if found.ndim == 3 else found


def _reduced(frame: NDArray[np.float32]) -> NDArray[np.float32]:
    """The frame, reduced to the common size."""
    if frame.shape[1::-1] == _GRID:
        return frame
    return cv2.resize(frame, _GRID, interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)
