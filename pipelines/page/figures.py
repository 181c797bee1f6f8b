"""Statistics from the tables of a set: the distribution of residuals, the samples that differ most, and failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.errors import RunError
from pipelines.page.opened import Group, OpenedSet
from pipelines.shards import FinishedVariant

# Bins of a distribution per power of ten, and the first and last power.
BINS_PER_DECADE, DECADES = 4, (-9, 4)
_EDGES = np.logspace(*DECADES, (DECADES[1] - DECADES[0]) * BINS_PER_DECADE + 1)
# The quantiles that are shown.
QUANTILES = (0.05, 0.5, 0.95)
# The most reasons of failures, and samples that differ most, that are listed.
_REASONS, _MOST = 12, 12
# A set with more samples than this gets no page.
MOST_SAMPLES = 10_000_000


class Distribution(NamedTuple):
    """Residuals of the samples of a variant: how many could be compared, how many of those are zero, their quantiles,
    and how many are in each bin.
    """

    compared: int
    same: int
    quantiles: tuple[float, ...]
    bins: NDArray[np.int64]


class Failure(NamedTuple):
    """A reason, the samples that failed for it in some variant, one of them, and the variants that they failed in."""

    reason: str
    samples: int
    example: str
    variants: tuple[str, ...]


class Differing(NamedTuple):
    """A sample: its mean and largest residual over the distinct variants, and the variant with the largest."""

    key: str
    mean: float
    largest: float
    variant: str


@dataclass(frozen=True)
class Figures:
    """What the tables say. `failures` are the most frequent of `reasons` reasons.

    `mean` has the mean residual over the distinct variants of each sample that all variants have, NaN if there is none;
    `keys` and `shards` have those samples' keys and shards, in order.
    """

    distributions: Mapping[str, Distribution]
    failures: Sequence[Failure]
    reasons: int
    most: Sequence[Differing]
    keys: Sequence[str]
    shards: NDArray[np.int32]
    mean: NDArray[np.float64]


def figures(of: OpenedSet) -> Figures:
    """Read the tables of a set. Raises RunError if one cannot be read, or they list different samples."""
    first = of.variants[0].table("key", "shard")
    rows = len(first)
    made = np.ones(rows, bool)
    total, counted = np.zeros(rows), np.zeros(rows, np.int64)
    largest, by = np.zeros(rows), np.zeros(rows, np.int32)
    distributions, failures = {}, _Failures()
    for place, group in enumerate(of.groups):
        values = _residuals(group.variant, of.measure.column, rows)
        distributions[group.name] = _distribution(values)
        if group is of.reference:
            continue
        known = np.isfinite(values)
        total[known] += values[known]
        counted += known
        more = known & (values > largest)
        largest[more], by[more] = values[more], place
    for variant in of.variants:
        if variant.summary["totals"]["failed"]:
            made &= failures.add(variant, rows)
    mean = np.divide(total, counted, out=np.full(rows, np.nan), where=counted > 0)
    keys = first["key"].to_pylist()
    there = np.flatnonzero(made)
    return Figures(
        distributions,
        failures.most_frequent(),
        failures.reasons,
        _most(keys, mean, largest, by, of.groups),
        [keys[place] for place in there],
        first["shard"].to_numpy()[there],
        mean[there],
    )


def _residuals(variant: FinishedVariant, column: str, rows: int) -> NDArray[np.float64]:
    """A variant's residuals, NaN for samples that could not be compared."""
    table = variant.table(column)
    if len(table) != rows:
        raise RunError(f"{variant.folder} lists other samples than the other variants do: make it again")
    found: NDArray[np.float64] = table[column].to_numpy()
    return found


def _distribution(residuals: NDArray[np.float64]) -> Distribution:
    known = residuals[np.isfinite(residuals)]
    if not len(known):
        return Distribution(0, 0, (), np.zeros(len(_EDGES) - 1, np.int64))
    positive = known[known > 0].clip(_EDGES[0], _EDGES[-1])
    bins, _ = np.histogram(positive, _EDGES)
    return Distribution(len(known), len(known) - len(positive), tuple(map(float, np.quantile(known, QUANTILES))), bins)


def _most(
    keys: Sequence[str],
    mean: NDArray[np.float64],
    largest: NDArray[np.float64],
    by: NDArray[np.int32],
    groups: Sequence[Group],
) -> list[Differing]:
    order = np.lexsort((np.arange(len(mean)), -np.nan_to_num(mean)))[:_MOST]
    return [
        Differing(keys[place], float(mean[place]), float(largest[place]), groups[by[place]].name)
        for place in order
        if mean[place] > 0
    ]


class _Failures:
    """Failed samples by their reason."""

    def __init__(self) -> None:
        self._samples: dict[str, dict[str, None]] = {}
        self._variants: dict[str, dict[str, None]] = {}

    def add(self, variant: FinishedVariant, rows: int) -> NDArray[np.bool_]:
        """Add the samples that the variant lacks. Returns a mask of those that it has."""
        table = variant.table("key", "status", "error")
        made: pa.ChunkedArray = pc.equal(table["status"], "ok")
        for row in table.filter(pc.invert(made)).to_pylist():
            self._samples.setdefault(row["error"], {})[row["key"]] = None
            self._variants.setdefault(row["error"], {})[variant.name] = None
        found: NDArray[np.bool_] = made.to_numpy()
        return found

    @property
    def reasons(self) -> int:
        """The number of different reasons."""
        return len(self._samples)

    def most_frequent(self) -> list[Failure]:
        """The reasons that most samples failed for."""
        counts = Counter({reason: len(keys) for reason, keys in self._samples.items()})
        return [
            Failure(reason, count, next(iter(self._samples[reason])), tuple(self._variants[reason]))
            for reason, count in counts.most_common(_REASONS)
        ]
