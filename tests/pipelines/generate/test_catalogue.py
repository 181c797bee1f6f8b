"""Samples are ordered as by Python's own sort, and planned, in memory that does not grow with the set."""

from __future__ import annotations

import gc
import itertools
import os
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.variant import parse, reference
from pipelines.errors import UsageError
from pipelines.generate.plan import plan, remaining
from pipelines.generate.sources import Catalogue, Sample

# Bytes left to SQLite: a few of its pages, so that all but a few samples are in the file.
SMALL = 8192

letters = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\\")
values = st.one_of(st.integers(0, 2**70), st.text(max_size=9))
samples = st.builds(
    Sample,
    key=st.text(letters, min_size=1, max_size=15),
    label=st.integers(-1, 999),
    path=st.text(letters, max_size=30),
    size=st.integers(0, 2**65),
    place=st.lists(values, max_size=3).map(tuple),
    extra=st.lists(st.tuples(st.text(max_size=3), values), max_size=2).map(tuple),
)


@given(st.lists(samples, max_size=40), st.one_of(st.none(), st.integers(1, 50)), st.data())
def test_a_catalogue_is_the_sorted_list(found: list[Sample], limit: int | None, data: st.DataObject) -> None:
    keys = [sample.key for sample in found]
    if len(set(keys)) < len(keys):
        with pytest.raises(UsageError, match=f"^{len(keys) - len(set(keys))} duplicate key"):
            Catalogue(found, limit, SMALL)
        return
    expected = sorted(found)[:limit]
    catalogue = Catalogue(iter(found), limit, SMALL)
    assert list(catalogue) == expected
    assert len(catalogue) == len(expected)
    part = data.draw(st.slices(len(expected)))
    assert list(catalogue[part]) == expected[part]
    assert [catalogue[index] for index in (0, -1) if expected] == [expected[index] for index in (0, -1) if expected]
    with pytest.raises(IndexError):
        catalogue[len(expected)]
    assert catalogue.sha256 == Catalogue(expected).sha256


def many(count: int) -> Iterator[Sample]:
    """Samples in an order far from the sorted one."""
    for index in range(count):
        key = f"{index * 7_919 % count:08d}"
        yield Sample(key, index % 1000, f"{index % 1000}/{key}.jpg", index, (index % 10, index * 512))


def open_files() -> dict[str, int]:
    found = {}
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found[os.readlink(descriptor)] = descriptor.stat().st_size
        except FileNotFoundError:  # the descriptor by which the folder itself was listed
            continue
    return found


def test_many_samples_are_in_an_unnamed_file() -> None:
    """So that nothing is left behind, however the process ends."""
    before = open_files().keys()
    catalogue = Catalogue(many(50_000), memory=SMALL)
    opened = {name: size for name, size in open_files().items() if name not in before}
    assert max(opened.values()) > 1_000_000
    assert all(name.endswith("(deleted)") for name in opened)
    assert catalogue[12_345:12_347] == sorted(many(50_000))[12_345:12_347]
    del catalogue
    gc.collect()
    assert not open_files().keys() & opened.keys()


def test_an_interrupted_listing_leaves_nothing() -> None:
    def listing() -> Iterator[Sample]:
        yield from itertools.islice(many(50_000), 20_000)
        raise KeyboardInterrupt

    before = open_files().keys()
    with pytest.raises(KeyboardInterrupt):
        Catalogue(listing(), memory=SMALL)
    gc.collect()
    assert not {name for name in open_files() if "etilqs" in name} - before


class Virtual(Sequence[Sample]):
    """Any number of samples, made when they are accessed."""

    def __init__(self, numbers: range) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, at: int) -> Sample: ...
    @overload
    def __getitem__(self, at: slice) -> Virtual: ...
    def __getitem__(self, at: int | slice) -> Sample | Virtual:
        number = self.numbers[at]
        return Virtual(number) if isinstance(number, range) else Sample(f"{number:012d}", 0, "", 0, (number,))


def peak(count: int) -> tuple[int, int, Sample]:
    """Peak memory of a plan in bytes, its number of shards, and its last sample."""
    base = reference("pil+pil_bilinear")
    variants = [parse(name, base) for name in ("pil_lanczos", "opencv", "ffmpeg")]
    per_shard, done = 100_000, {"opencv": frozenset({3})}
    tracemalloc.start()
    try:
        left = remaining(count, per_shard, variants, done)
        for task in plan(Virtual(range(count)), per_shard, variants, done):
            assert task.samples
        assert left == (task.shards, count)
        return tracemalloc.get_traced_memory()[1], task.shards, task.samples[-1]
    finally:
        tracemalloc.stop()


def test_a_plan_of_a_billion_samples_takes_no_more_memory_than_one_of_a_million() -> None:
    peak(1_000_000_001)  # fills caches
    small, shards, last = peak(1_000_000)
    large, more_shards, very_last = peak(1_000_000_001)
    assert (shards, more_shards) == (10, 10_001)
    assert (last.key, very_last.key) == ("000000999999", "001000000000")
    assert large < small + 1_000
