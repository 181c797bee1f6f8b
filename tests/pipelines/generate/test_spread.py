"""Chores in this process and spread over workers: the same results, in order, and few of them held back."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from pipelines.generate import spread
from pipelines.generate.sources.reading import Chore, here
from pipelines.options import Cluster
from pipelines.store import Disk, Place, Remote
from pipelines.work import Finished
from pipelines.work.cluster import Ray
from tests.steps import result_of

DISK, STORE = Disk("/"), Remote("s3://bucket/folder")


def chore(place: Place = DISK, seconds: float = 1e-3, size: int = 1) -> Chore[int, int]:
    return Chore("squaring", place, partial(pow, 2), seconds, lambda _: size)


class Engine:
    """Stands in for Ray's: takes pieces while there is room, and ends them in any order.

    The stuck piece ends when no other is left.
    """

    def __init__(self, room: int, stuck: int = -1) -> None:
        self.room, self.stuck = room, stuck
        self.begun = 0

    def run(self, work: Any, supply: Any, on_gpus: object, workers: object, tick: float) -> Iterator[Any]:
        chance, running = random.Random(1), list[Any]()
        while True:
            while len(running) < self.room and (piece := supply.take(self.room)) is not None:
                self.begun += 1
                assert work.name(piece) == f"squaring, part {piece[0]}"
                running.append(piece)
            if not running:
                return
            piece = chance.choice([piece for piece in running if piece[0] != self.stuck] or running)
            running.remove(piece)
            yield None
            yield Finished(piece, result_of(work.do(piece, work.job, False)))


@pytest.mark.parametrize("count", [0, 1, 8, 9, 333])
def test_results_come_in_order(count: int) -> None:
    engine: Any = Engine(room=7)
    assert list(spread._spread(engine, None, chore(), range(count))) == list(here(chore(), range(count)))
    assert engine.begun == -(-count // 8)


def test_results_held_back_for_a_late_one_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost piece that is made again delays all later ones."""
    monkeypatch.setattr(spread, "_MOST_WAITING", 8 * 1000 * 10)
    engine: Any = Engine(room=3, stuck=2)
    results = spread._spread(engine, None, chore(size=1000), range(8 * 200))
    assert [next(results) for _ in range(17)] == [2**n for n in range(17)]
    assert engine.begun <= 2 + 3 + 10 + 1
    assert list(results) == [2**n for n in range(17, 8 * 200)]


def test_large_pieces_are_handed_out_one_by_one() -> None:
    engine: Any = Engine(room=2)
    list(spread._spread(engine, None, chore(seconds=0.4), range(10)))
    assert engine.begun == 5


@pytest.mark.parametrize(
    ("address", "running", "place", "seconds", "starts"),
    [
        (None, False, DISK, 1e-3, False),
        (None, False, DISK, 1e-1, True),
        (None, True, STORE, 1e-2, True),
        ("auto", False, STORE, 1e-2, True),
        ("auto", False, STORE, 1e-3, False),
        ("auto", True, DISK, 1.0, False),  # the disk may be this machine's only
    ],
)
def test_ray_is_used_if_there_is_enough_to_do(
    address: str | None, running: bool, place: Place, seconds: float, starts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def engine(ray: Ray) -> Engine:
        asked.append(ray)
        return Engine(room=2)

    monkeypatch.setattr(Ray, "running", running)
    monkeypatch.setattr(Ray, "engine", engine)
    with contextlib.closing(Ray(Cluster(None, address))) as ray:
        assert list(spread.over(ray)(chore(place, seconds), range(100))) == [2**n for n in range(100)]
    assert bool(asked) == starts
