"""Which samples a page measures, and which of them it shows: always the same for the same set, and quick to read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.page.figures import Figures
from pipelines.page.opened import OpenedSet
from pipelines.store import Disk

# The bytes of tars that are read for a page, and the fewest and most samples that are measured.
_BYTES_ON_DISK, _BYTES_IN_STORE = 400_000_000, 100_000_000
FEWEST, _MOST = 12, 256
# The shards of each variant that are read: their headers on a disk, a beginning of each in a store.
_SHARDS_ON_DISK, _SHARDS_IN_STORE = 8, 4
SHOWN = 8


def measured(of: OpenedSet, figures: Figures) -> list[str]:
    """The keys of the samples to measure, in order: evenly spaced in a few shards, or in a store their first ones."""
    on_disk = _on_disk(of)
    each = sum(_bytes_of_sample(group.variant.summary["totals"]) for group in of.groups)
    count = int(np.clip((_BYTES_ON_DISK if on_disk else _BYTES_IN_STORE) / max(each, 1), FEWEST, _MOST))
    if on_disk:
        places = _in_shards(figures.shards, _SHARDS_ON_DISK)
    else:
        places = _in_shards(figures.shards, _SHARDS_IN_STORE, -(-count // _SHARDS_IN_STORE))
    return [figures.keys[place] for place in places[_spaced(len(places), count)]]


def shown(of: OpenedSet, keys: Sequence[str], figures: Figures) -> list[str]:
    """The keys of the samples to show: some of the measured ones, by increasing difference between the variants, then
    the sample on which they differ most: of all samples, or of the measured ones in a store.
    """
    means = dict(zip(figures.keys, np.nan_to_num(figures.mean), strict=True))
    most = max(figures.keys if _on_disk(of) else keys, key=lambda key: means[key], default="")
    ordered = sorted((key for key in keys if key != most), key=lambda key: (means[key], key))
    return [*(ordered[place] for place in _spaced(len(ordered), SHOWN - 1)), *filter(None, [most])]


def _on_disk(of: OpenedSet) -> bool:
    return isinstance(of.shards.root, Disk)


def _bytes_of_sample(totals: dict[str, int]) -> float:
    return totals["bytes"] / max(totals["samples"], 1)


def _in_shards(shards: NDArray[np.int32], most: int, count: int | None = None) -> NDArray[np.int64]:
    """The places in at most `most` evenly spaced shards: all, or the first `count` of each."""
    numbers = np.unique(shards)
    some = numbers[_spaced(len(numbers), most)]
    none = np.zeros(0, np.int64)  # every sample failed in some variant
    return np.concatenate([none, *(np.flatnonzero(shards == number)[:count] for number in some)])


def _spaced(length: int, count: int) -> NDArray[np.int64]:
    """At most `count` of `length` places, evenly spaced from the first to the last."""
    return np.unique(np.linspace(0, max(length - 1, 0), min(count, length)).round().astype(np.int64))
