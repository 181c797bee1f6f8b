"""The plan: sorted samples cut into fixed shards. Pure functions of keys and locations; no images are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from generators.variant import Variant
from pipelines.generate.shard import Task
from pipelines.generate.sources import Sample


def shard_count(samples: int, per_shard: int) -> int:
    """How many shards that many samples need; the last one may be shorter."""
    return -(-samples // per_shard)


def plan(
    samples: Sequence[Sample], per_shard: int, variants: Sequence[Variant], done: Mapping[str, AbstractSet[int]]
) -> Iterator[Task]:
    """A task for each shard that is not yet `done` (shard numbers by variant name) in all variants, in order.

    Tasks are generated one at a time: a plan of a billion samples takes no more memory than one of a thousand.
    """
    shards = shard_count(len(samples), per_shard)
    for shard, missing in _missing(shards, variants, done):
        yield Task(shard, shards, samples[shard * per_shard : (shard + 1) * per_shard], missing)


def remaining(
    samples: int, per_shard: int, variants: Sequence[Variant], done: Mapping[str, AbstractSet[int]]
) -> tuple[int, int]:
    """How many tasks such a plan has, and how many samples these have in total."""
    shards = shard_count(samples, per_shard)
    tasks = total = 0
    for shard, _ in _missing(shards, variants, done):
        tasks += 1
        total += min(per_shard, samples - shard * per_shard)
    return tasks, total


def _missing(
    shards: int, variants: Sequence[Variant], done: Mapping[str, AbstractSet[int]]
) -> Iterator[tuple[int, tuple[Variant, ...]]]:
    for shard in range(shards):
        missing = tuple(variant for variant in variants if shard not in done.get(variant.name, ()))
        if missing:
            yield shard, missing
