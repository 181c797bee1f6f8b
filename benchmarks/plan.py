"""The cost of listing and sorting very many samples, and of cutting them into shards.

    python -m benchmarks.plan [--samples N ...]

For each number, in a separate process: samples from WebDataset tars of 10,000, which come in a different order than
their keys, are put into the catalogue, and every shard's slice is taken from it once. Prints processor time, the
increase in peak resident memory, and the bytes of the unnamed files, at most and afterwards. The last row sorts the
same samples as a list.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import resource
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import psutil

from pipelines.generate.plan import shard_count
from pipelines.generate.sources import Catalogue, Sample
from pipelines.text import table

_PER_TAR = 10_000
_INTERVAL = 0.02  # seconds between two looks at the files


class _Result(NamedTuple):
    sort: float
    slices: float
    memory: int
    files_at_most: int
    files_after: int


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="The cost of planning.")
    parser.add_argument("--samples", type=int, nargs="+", default=[200_000, 2_000_000])
    counts = parser.parse_args().samples
    rows: list[tuple[str, ...]] = [
        ("samples", "listed and sorted, µs each", "sliced, µs each", "memory", "file at most", "file, B each")
    ]
    for kind, count in [*((_catalogue, count) for count in counts), (_list, counts[0])]:
        got = _apart(kind, count)
        rows.append(
            (
                f"{count:,}" + (" as a list" if kind is _list else ""),
                f"{got.sort / count * 1e6:.1f}",
                f"{got.slices / count * 1e6:.1f}",
                f"{got.memory / 2**20:.0f} MiB ({got.memory / count:.0f} B each)",
                f"{got.files_at_most / count:.0f} B each",
                f"{got.files_after / count:.0f}",
            )
        )
    print(table(rows, frozenset({1, 2, 4, 5})))


def _samples(count: int) -> Iterator[Sample]:
    """Samples in the order of tars, which are shuffled."""
    tars = shard_count(count, _PER_TAR)
    for tar in sorted(range(tars), key=lambda number: number * 7_919 % tars):
        for index in range(min(_PER_TAR, count - tar * _PER_TAR)):
            key = f"{tar * _PER_TAR + index:012d}"
            yield Sample(key, -1, f"{tar:06d}.tar/{key}.jpg", 20_000 + index, (tar, index * 22_016 + 512))


def _apart(kind: Callable[[int], _Result], count: int) -> _Result:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_send, args=(kind, count, theirs))
    process.start()
    theirs.close()
    result: _Result = ours.recv()
    process.join()
    return result


def _send(kind: Callable[[int], _Result], count: int, parent: Connection) -> None:
    parent.send(kind(count))


def _catalogue(count: int) -> _Result:
    before, at_most = _resident(), 0
    done = threading.Event()

    def watch() -> None:
        nonlocal at_most
        while not done.wait(_INTERVAL):
            at_most = max(at_most, _unnamed())

    watching = threading.Thread(target=watch)
    watching.start()
    began = _processor()
    catalogue = Catalogue(_samples(count))
    sorted_at = _processor()
    for start in range(0, count, _PER_TAR):
        assert catalogue[start : start + _PER_TAR]
    sliced_at = _processor()
    done.set()
    watching.join()
    return _Result(sorted_at - began, sliced_at - sorted_at, _most_resident() - before, at_most, _unnamed())


def _list(count: int) -> _Result:
    gc.collect()
    before, began = _resident(), _processor()
    found = sorted(_samples(count))
    sorted_at = _processor()
    for start in range(0, count, _PER_TAR):
        assert found[start : start + _PER_TAR]
    return _Result(sorted_at - began, _processor() - sorted_at, _most_resident() - before, 0, 0)


def _processor() -> float:
    """Seconds of processor time of this process, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)


def _most_resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _unnamed() -> int:
    """Bytes of this process's open files that have been deleted."""
    total = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            if os.readlink(descriptor).endswith("(deleted)"):
                total += descriptor.stat().st_size
        except OSError:  # closed meanwhile
            continue
    return total


if __name__ == "__main__":
    main()
