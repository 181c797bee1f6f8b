"""The arithmetic of a Reshape: which lengths of its input become which lengths of its output."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from generators.models.shapes import Known


def resolve(numbers: NDArray[np.generic], shape: Known, zero: bool) -> Known | None:
    """The shape that a Reshape to these numbers gives; None if they do not fit its input."""
    lengths = [int(number) for number in numbers.astype(np.int64)]
    if not zero:
        if any(length == 0 and index >= len(shape) for index, length in enumerate(lengths)):
            return None
        lengths = [shape[index] if length == 0 else length for index, length in enumerate(lengths)]
    if -1 in lengths:
        rest = math.prod(length for length in lengths if length != -1)
        if rest <= 0 or math.prod(shape) % rest:
            return None
        lengths[lengths.index(-1)] = math.prod(shape) // rest
    return tuple(lengths) if math.prod(lengths) == math.prod(shape) else None


def follow(old: Known, made: Known, new: Known, merged: dict[tuple[Known, int], Known]) -> Known | None:
    """The result for shape `new` of a Reshape that made `made` of `old`; None if that is ambiguous.

    The lengths of both sides are divided into groups with equal products. If the lengths of a group change, either they
    are all multiplied into one, which is recorded; or they stay separate; or one is split as it was merged before.
    """
    if len(new) != len(old) or math.prod(old) != math.prod(made) or 0 in old:
        return None
    wanted = list(made)
    for left, right in _groups(old, made):
        if old[left] == new[left]:
            continue
        product = math.prod(new[left])
        long = [index for index in _span(right) if made[index] != 1]
        if old[left] == made[right]:
            wanted[right] = new[left]
        elif len(long) == 1 or right.stop - right.start == 1:
            merged[old[left], product] = new[left]
            wanted[long[0] if long else right.start] = product
        elif (made[right], product) in merged:
            wanted[right] = merged[made[right], product]
        else:
            return None
    return tuple(wanted)


def kept_axes(old: Known, made: Known) -> dict[int, int]:
    """The input axis of each output axis of a Reshape, for those that are unchanged."""
    pairs = [(left, right) for left, right in _groups(old, made) if old[left] == made[right]]
    return {j: i for left, right in pairs for i, j in zip(_span(left), _span(right), strict=True)}


def _groups(old: Known, made: Known) -> list[tuple[slice, slice]]:
    """The shortest runs of lengths on both sides with equal products, in order."""
    found: list[tuple[slice, slice]] = []
    i = j = 0
    while i < len(old) and j < len(made):
        first, second = i, j
        i, j = i + 1, j + 1
        while (left := math.prod(old[first:i])) != (right := math.prod(made[second:j])):
            i, j = (i + 1, j) if left < right else (i, j + 1)
        found.append((slice(first, i), slice(second, j)))
    # Only ones can be left.
    if found:
        left_last, right_last = found.pop()
        found.append((slice(left_last.start, len(old)), slice(right_last.start, len(made))))
    return found


def _span(run: slice) -> range:
    return range(run.start, run.stop)
