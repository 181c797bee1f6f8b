"""Decides which piece of a run's work comes next: a shard, a part of one, or joining a shard whose parts are all made.

Guided self-scheduling (Polychronopoulos and Kuck, IEEE Transactions on Computers C-36, 1987): a piece is a fraction of
the remaining work divided by the number of workers, so that there are few pieces and the last ones are small. A shard
no larger than a piece is made whole. No piece extends beyond its shard, and how shards are cut does not affect their
bytes. Memory holds only what is being worked on, never the whole plan.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from generators.registry import MAX_BATCH
from pipelines.generate.shard import Join, Task
from pipelines.generate.sources import Grouped, Sample, Source

# A piece is one over this of a worker's share of the remaining work, since images differ in cost.
_SHARE = 3

Piece = Task | Join


class Lane(NamedTuple):
    """The shards to make on one kind of worker, and the total number of their images."""

    tasks: Iterator[Task]
    images: int


@dataclass
class _Cut:
    """A shard made in parts: how many of its samples have been handed out, and how many pieces are unfinished."""

    task: Task
    parts: list[str] = field(default_factory=list)
    given: int = 0
    open: int = 0
    failed: bool = False

    @property
    def ready(self) -> bool:
        """Whether no piece is unfinished, and no more samples will be handed out."""
        return not self.open and (self.failed or self.given == len(self.task.samples))


class Schedule:
    """The pieces of a run. Those in `on_gpus` need a GPU; joining never does.

    `discard` is called with parts that are no longer needed. `fixed` sets the number of images in a piece.
    """

    def __init__(
        self, on_cpus: Lane, on_gpus: Lane, source: Source, discard: Callable[[Sequence[str]], None], fixed: int | None
    ) -> None:
        self._discard = discard
        self._cuts: dict[str, _Cut] = {}
        self._named = 0
        group = source.group if isinstance(source, Grouped) else None
        self.joins: deque[Join] = deque()
        self.cpus = _Cpus(on_cpus, _Size(1, fixed, group), self)
        self.gpus = _Supply(on_gpus, _Size(MAX_BATCH, fixed, group), self)

    def part(self, cut: _Cut, piece: Task) -> Task:
        """A piece of a shard that is made in parts, with the name of its part."""
        name = f"{self._named:08d}"
        self._named += 1
        cut.parts.append(name)
        cut.open += 1
        self._cuts[name] = cut
        return replace(piece, part=name)

    def finished(self, piece: Piece, workers: int) -> None:
        """A piece is done. If it was its shard's last, the shard's variants are divided among all workers to join."""
        cut = self._cut(piece)
        if cut is None:
            return
        cut.open -= 1
        if not cut.ready:
            return
        if isinstance(piece, Task) and not cut.failed:
            variants, parts = cut.task.variants, tuple(cut.parts)
            each = -(-len(variants) // workers)
            joins = [
                Join(piece.shard, piece.shards, variants[first : first + each], parts)
                for first in range(0, len(variants), each)
            ]
            cut.open = len(joins)
            self.joins += joins
            return
        self._discard(cut.parts)
        for part in cut.parts:
            del self._cuts[part]

    def failed(self, piece: Piece) -> None:
        """A piece failed, and so did its shard: no further shard is begun, and those already begun are finished."""
        cut = self._cut(piece)
        self.cpus.end(cut)
        self.gpus.end(cut)
        if cut:
            cut.failed = True
            waiting = [join for join in self.joins if self._cut(join) is cut]
            self.joins = deque(join for join in self.joins if join not in waiting)
            cut.open -= len(waiting)
            self.finished(piece, 1)

    def _cut(self, piece: Piece) -> _Cut | None:
        if isinstance(piece, Join):
            return self._cuts[piece.parts[0]]
        return None if piece.part is None else self._cuts[piece.part]


@dataclass(frozen=True)
class _Size:
    """How many samples a piece has: at least `fewest`, or exactly `fixed` if that is given.

    `group` maps samples that should be read together to the same value.
    """

    fewest: int
    fixed: int | None
    group: Callable[[Sample], Hashable] | None

    def of(self, rest: Sequence[Sample], left: int, workers: int) -> int:
        """The size of the next piece of a shard with samples `rest`, in a run with `left` samples to go."""
        if self.fixed:
            return min(self.fixed, len(rest))
        if workers == 1:  # nobody else has to finish at the same time
            return len(rest)
        most = -(-left // (_SHARE * workers))
        pieces = min(-(-len(rest) // most), max(1, len(rest) // self.fewest))
        size = -(-len(rest) // pieces)
        if self.group is None:
            return size
        last = self.group(rest[size - 1])
        # Extend the piece to the end of its last group, if that is not far.
        further = (stop for stop in range(size, 2 * size) if stop == len(rest) or self.group(rest[stop]) != last)
        return next(further, size)


class _Supply:
    """Hands out the pieces of a lane."""

    def __init__(self, lane: Lane, size: _Size, schedule: Schedule) -> None:
        self._tasks, self._left = lane
        self._size, self._schedule = size, schedule
        self._current: _Cut | None = None

    def take(self, workers: int) -> Piece | None:
        """The next piece for one of `workers` workers; None if there is none for now."""
        if self._current is None:
            task = next(self._tasks, None)
            if task is None:
                return None
            self._current = _Cut(task)
        cut = self._current
        rest = cut.task.samples[cut.given :]
        size = self._size.of(rest, self._left, workers)
        piece = replace(cut.task, samples=rest[:size], first=cut.given)
        cut.given += size
        self._left -= size
        if size == len(rest):
            self._current = None
        return piece if size == len(cut.task.samples) else self._schedule.part(cut, piece)

    def finished(self, piece: Piece, workers: int) -> None:
        self._schedule.finished(piece, workers)

    def failed(self, piece: Piece) -> None:
        self._schedule.failed(piece)

    def end(self, failed: _Cut | None) -> None:
        """Begin no further shard, and drop the current one if it has failed."""
        self._tasks = iter(())
        if self._current is failed:
            self._current = None


class _Cpus(_Supply):
    """Hands out joins first: a shard takes twice the space until it is joined."""

    def take(self, workers: int) -> Piece | None:
        if self._schedule.joins:
            return self._schedule.joins.popleft()
        return super().take(workers)
