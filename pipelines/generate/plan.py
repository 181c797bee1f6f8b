"""The plan: sorted samples cut into fixed shards. Pure functions; they hold names and places, never images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from generators.variant import Variant
from pipelines.generate.shard import Task
from pipelines.generate.sources import Sample


def shard_count(samples: int, per_shard: int) -> int:
    """How many shards hold that many samples; the last one may be shorter."""
    return -(-samples // per_shard)


def plan(
    samples: Sequence[Sample], per_shard: int, variants: Sequence[Variant], done: Mapping[str, AbstractSet[int]]
) -> Iterator[Task]:
    """A task for each shard that is not `done` (shard numbers by variant name) for all variants, in order.

    One at a time: a plan of a thousand million samples takes no more memory than one of a thousand.
    """
    shards = shard_count(len(samples), per_shard)
    for shard in range(shards):
        missing = tuple(variant for variant in variants if shard not in done.get(variant.name, ()))
        if missing:
            yield Task(shard, shards, samples[shard * per_shard : (shard + 1) * per_shard], missing)
