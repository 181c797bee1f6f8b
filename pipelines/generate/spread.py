"""Spreads chores of the driver over the workers: reading many files' metadata, before and after the images.

Owns when there is enough to do for Ray, and keeps results in order and bounded. Files on one machine's disk are read
there, never by the workers of a cluster, which may not have that disk.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from types import ModuleType

from pipelines import work
from pipelines.generate.sources.reading import Chore, Result, Spread, Work, here
from pipelines.progress import TICK
from pipelines.store import Disk
from pipelines.work.cluster import Ray

# Items in a worker's task, so that several wait for a store at once, and the seconds that they may take together.
_TOGETHER, _LONGEST = 8, 1.0
# Seconds of work that are worth starting Ray, and those that are worth sending to one already running.
_WORTH_A_START, _WORTH_SENDING = 8.0, 0.5
# Bytes of results held back until earlier ones arrive.
_MOST_WAITING = 2**28


def over(ray: Ray) -> Spread:
    """Run chores on a Ray, which is started if there is enough to do."""

    def spread(chore: Chore[Work, Result], pieces: Sequence[Work]) -> Iterator[Result]:
        worth = _WORTH_SENDING if ray.running or ray.cluster.address else _WORTH_A_START
        if len(pieces) * chore.seconds < worth or (ray.cluster.address and isinstance(chore.place, Disk)):
            return here(chore, pieces)
        return _spread(ray.engine(), ray.cluster.workers, chore, pieces)

    return spread


def _spread(
    engine: ModuleType, workers: int | None, chore: Chore[Work, Result], pieces: Sequence[Work]
) -> Iterator[Result]:
    early: dict[int, list[Result]] = {}
    turn = waiting = 0

    def groups() -> Iterator[tuple[int, Sequence[Work]] | None]:
        """The groups by number; None, which the engine takes as "none yet", while too many results wait."""
        together = max(1, min(_TOGETHER, int(_LONGEST / chore.seconds)))
        for number, start in enumerate(range(0, len(pieces), together)):
            while waiting > _MOST_WAITING:
                yield None
            yield number, pieces[start : start + together]

    of_chore = work.Work(_do, chore, lambda group: f"{chore.name}, part {group[0]}")
    for finished in engine.run(of_chore, work.InTurn(groups()), work.InTurn(), workers, TICK):
        if not isinstance(finished, work.Finished):
            continue
        early[finished.piece[0]] = finished.result
        waiting += sum(map(chore.size, finished.result))
        while turn in early:
            for result in early.pop(turn):
                waiting -= chore.size(result)
                yield result
            turn += 1


def _do(
    group: tuple[int, Sequence[Work]], chore: Chore[Work, Result], careful: bool
) -> Generator[int, None, list[Result]]:
    yield from ()  # no images
    return list(here(chore, group[1]))
