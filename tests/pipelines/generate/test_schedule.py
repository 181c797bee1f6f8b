"""The pieces that a run's work is cut into, when workers of simulated speeds ask for them."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from generators.selection import expand
from generators.variant import Variant, reference
from pipelines.generate.plan import plan
from pipelines.generate.schedule import Lane, Piece, Schedule
from pipelines.generate.shard import Join, Task
from pipelines.generate.sources import Listing, Missing, Sample, SampleSource

BASE = reference("pil_bilinear", resizes=True)
VARIANTS = tuple(expand(["resize"], BASE)[0][:5])


def samples_of(count: int) -> list[Sample]:
    return [Sample(f"{number:05d}", 0, f"{number}.jpg", 1, (number,)) for number in range(count)]


def lane(count: int, per_shard: int, variants: Sequence[Variant] = VARIANTS[:1]) -> Lane:
    return Lane(plan(samples_of(count), per_shard, variants, {}), count)


NOTHING = Lane(iter(()), 0)


def schedule_of(on_cpus: Lane, on_gpus: Lane = NOTHING, fixed: int | None = None) -> tuple[Schedule, list[str]]:
    discarded: list[str] = []
    return Schedule(on_cpus, on_gpus, SampleSource(), discarded.extend, fixed), discarded


@dataclass
class Ran:
    """What workers did: each piece with the time of its end, and the time of each worker's last image."""

    pieces: list[tuple[float, Piece]]
    ends: list[float]

    @property
    def tasks(self) -> list[Task]:
        return [piece for _, piece in self.pieces if isinstance(piece, Task)]

    @property
    def joins(self) -> list[Join]:
        return [piece for _, piece in self.pieces if isinstance(piece, Join)]


def run(schedule: Schedule, workers: int, cost: Callable[[Sample], float], fails: Callable[[Piece], bool]) -> Ran:
    """Do all the work with this many workers, on a simulated clock."""
    ran = Ran([], [0.0] * workers)
    order = itertools.count()
    idle = list(range(workers))
    busy: list[tuple[float, int, int, Piece]] = []
    now = 0.0
    while True:
        while idle and (piece := schedule.cpus.take(workers)):
            took = sum(map(cost, piece.samples)) if isinstance(piece, Task) else 0.0
            heapq.heappush(busy, (now + took, next(order), idle.pop(), piece))
        if not busy:
            return ran
        now, _, worker, piece = heapq.heappop(busy)
        idle.append(worker)
        if fails(piece):
            schedule.cpus.failed(piece)
            continue
        schedule.cpus.finished(piece, workers)
        ran.pieces.append((now, piece))
        if isinstance(piece, Task):
            ran.ends[worker] = now


def check(ran: Ran, count: int, per_shard: int, variants: Sequence[Variant], discarded: Sequence[str]) -> None:
    """Every sample was made once, and every shard whole, or joined once for each variant from all of its parts."""
    samples, tasks_of, joins_of = samples_of(count), defaultdict(list), defaultdict(list)
    place = {id(piece): at for at, (_, piece) in enumerate(ran.pieces)}
    for task in ran.tasks:
        tasks_of[task.shard].append(task)
    for join in ran.joins:
        joins_of[join.shard].append(join)
    for shard in range(-(-count // per_shard)):
        mine = sorted(tasks_of[shard], key=lambda task: task.first)
        expected = samples[shard * per_shard : (shard + 1) * per_shard]
        assert [sample for task in mine for sample in task.samples] == expected
        joins = joins_of[shard]
        if mine[0].part is None:
            assert len(mine) == 1
            assert not joins
            continue
        assert [variant for join in joins for variant in join.variants] == list(variants)
        assert {join.parts for join in joins} == {tuple(task.part for task in mine)}
        last = max(place[id(task)] for task in mine)
        assert all(place[id(join)] > last for join in joins)
    assert sorted(discarded) == sorted(task.part for task in ran.tasks if task.part)


@pytest.mark.parametrize("seed", range(40))
def test_everything_is_made_once_and_workers_finish_together(seed: int) -> None:
    random.seed(seed)
    workers = random.choice([1, 2, 3, 7, 16, 64])
    count = workers * random.randint(50, 200) + random.randint(0, workers)
    per_shard = random.choice([7, 100, 400, 1000])
    variants = VARIANTS[: random.randint(1, 5)]
    schedule, discarded = schedule_of(lane(count, per_shard, variants))
    ran = run(schedule, workers, lambda _: 1.0, lambda _: False)
    check(ran, count, per_shard, variants, discarded)
    assert min(ran.ends) >= 0.97 * max(ran.ends) - 1  # 3%, and one image, which cannot be cut


@pytest.mark.parametrize("workers", [2, 16])
def test_images_that_cost_more_do_not_keep_workers_waiting(workers: int) -> None:
    random.seed(workers)
    costs = {sample.key: random.lognormvariate(0, 0.7) for sample in samples_of(200 * workers)}
    schedule, _ = schedule_of(lane(200 * workers, 1000))
    ran = run(schedule, workers, lambda sample: costs[sample.key], lambda _: False)
    assert min(ran.ends) >= 0.97 * max(ran.ends) - max(costs.values())


def test_shards_of_large_sets_are_made_whole_except_the_last() -> None:
    schedule, discarded = schedule_of(lane(100_000, 1000))
    ran = run(schedule, 4, lambda _: 1.0, lambda _: False)
    check(ran, 100_000, 1000, VARIANTS[:1], discarded)
    assert sum(task.part is None for task in ran.tasks) >= 85
    assert len(ran.pieces) < 200  # few tasks for the workers


@pytest.mark.parametrize("fixed", [1, 10, 1000])
def test_a_piece_has_the_requested_number_of_images(fixed: int) -> None:
    schedule, discarded = schedule_of(lane(95, 40, VARIANTS), fixed=fixed)
    ran = run(schedule, 3, lambda _: 1.0, lambda _: False)
    check(ran, 95, 40, VARIANTS, discarded)
    assert max(len(task.samples) for task in ran.tasks) == min(fixed, 40)


def test_a_shard_is_joined_while_another_fails() -> None:
    schedule, discarded = schedule_of(lane(60, 20), fixed=4)
    ran = run(
        schedule, 2, lambda _: 1.0, lambda piece: isinstance(piece, Task) and (piece.shard, piece.first) == (1, 4)
    )
    assert [join.shard for join in ran.joins] == [0]
    assert {task.shard for task in ran.tasks} == {0, 1}  # no other shard is begun
    assert set(discarded) >= {task.part for task in ran.tasks}


def test_nothing_is_left_of_a_shard_that_cannot_be_joined() -> None:
    schedule, discarded = schedule_of(lane(20, 20, VARIANTS), fixed=4)
    ran = run(schedule, 5, lambda _: 1.0, lambda piece: isinstance(piece, Join) and piece.variants == VARIANTS[1:2])
    assert len(discarded) == 5
    assert len(ran.joins) <= 4


def test_what_a_gpu_made_is_joined_by_cpus() -> None:
    schedule, _ = schedule_of(NOTHING, lane(100, 100))
    made = []
    while piece := schedule.gpus.take(2):
        made.append(piece)
        assert schedule.cpus.take(4) is None
        schedule.gpus.finished(piece, 4)
    assert [len(piece.samples) for piece in made if isinstance(piece, Task)][:1] == [34]  # no smaller than a batch
    join = schedule.cpus.take(4)
    assert isinstance(join, Join)
    assert schedule.cpus.take(4) is None


@dataclass(frozen=True)
class InGroups:
    """A source in which every 16 samples are read together."""

    kind: str = "in-groups"

    def listing(self) -> Listing:
        return Listing([], [])

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        return iter(())

    def group(self, sample: Sample) -> Hashable:
        return int(sample.place[0]) // 16


def test_samples_read_together_are_mostly_made_together() -> None:
    schedule = Schedule(lane(400, 400), NOTHING, InGroups(), lambda parts: None, None)
    tasks = run(schedule, 2, lambda _: 1.0, lambda _: False).tasks
    large = [task for task in tasks if len(task.samples) >= 16]
    assert len(large) > 3
    assert all((task.first + len(task.samples)) % 16 == 0 for task in large)
