"""The work of a run's driver on very many images, except planning, which `benchmarks.plan` measures.

    python -m benchmarks.driver [--images N] [--shard N]

Uses a synthetic source and store: WebDataset tars of 10,000 images, whose listings arrive as workers send them, and
records that are made when they are read. The workers' work is done in this process, but counted separately. Prints for
each step the processor time per image of the driver and of the workers, and the driver's peak memory so far.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import pickle
import random
import resource
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar, cast

from benchmarks import running
from manifests.images import ImageRow
from manifests.schema import Recipe, Record
from manifests.splits import shard_name
from pipelines.generate.output import Output
from pipelines.generate.plan import shard_count
from pipelines.generate.sources.kept import pack, unpack
from pipelines.generate.sources.members import Member, members_of
from pipelines.generate.sources.reading import Chore, Result, Work
from pipelines.generate.sources.webdataset import WebDatasetSource
from pipelines.store import Disk
from pipelines.text import table

T = TypeVar("T")

_PER_TAR = 10_000
# The number of different records; all others are copies of these.
_KINDS = 8
_RECIPE = Recipe(
    "pil_lanczos",
    {"decode": "pil", "resize": "pil_lanczos", "color": "none"},
    {"dataset": "imagenet", "geometry": "crop", "reference": "pil+pil_bilinear", "image_format": "png", "size": [224]},
    {"libraries": {"pillow": "12"}, "cpu": {"architecture": "x86_64"}, "code_sha256": "0" * 64},
)


class _Clock:
    """The processor time of the driver and, separately, of workers; making synthetic data counts for neither."""

    def __init__(self) -> None:
        self.workers = 0.0
        self._made = 0.0
        self.driver = 0.0
        self._began = time.process_time()

    def stop(self) -> None:
        self.driver = time.process_time() - self._began - self.workers - self._made

    def apart(self, do: Callable[[], T], *, works: bool) -> T:
        """Call something that is not the driver's work: a worker's, or the benchmark's own."""
        made, began = self._made, time.process_time()
        result = do()
        took = time.process_time() - began - (self._made - made)
        if works:
            self.workers += took
        else:
            self._made += took
        return result

    def spread(self, chore: Chore[Work, Result], pieces: Sequence[Work]) -> Iterator[Result]:
        """The results of a chore, as sent by workers."""
        for piece in pieces:
            sent = self.apart(partial(_sent, chore, piece), works=True)
            yield pickle.loads(sent)


def _sent(chore: Chore[Work, Result], piece: Work) -> bytes:
    return pickle.dumps(chore.fetch(piece), pickle.HIGHEST_PROTOCOL)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="The cost of a run's driver.")
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--shard", type=int, default=1000, metavar="N", help="images in a shard")
    given = parser.parse_args()
    rows: list[tuple[str, ...]] = [("step", "driver, µs", "workers, µs", "memory, MiB")]
    for step, clock in _steps(given.images, given.shard):
        each = [f"{seconds / given.images * 1e6:.2f}" for seconds in (clock.driver, clock.workers)]
        rows.append((step, *each, f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f}"))
    print(f"For an image, of {given.images:,} in shards of {given.shard:,}\n")
    print(table(rows, frozenset({1, 2, 3})))


def _steps(images: int, per_shard: int) -> Iterator[tuple[str, _Clock]]:
    """The steps of a run of one variant, each with its clock."""
    with running.temporary() as folder:
        yield "listing", _list(images, f"{folder}/tar")
        shards = shard_count(images, per_shard)
        records = _Records(images, per_shard)
        with Output(_Store(f"{folder}/out", records)).locked() as output:
            output.folder(_RECIPE.name).make()
            clock = records.clock = _Clock()
            assert len(output.done(_RECIPE.name, shards, records.recipe, clock.spread)) == shards
            clock.stop()
            yield "looking for what is done", clock
            clock = records.clock = _Clock()
            assert output.finish(records.recipe, shards, clock.spread)["totals"]["samples"] == images
            clock.stop()
            yield "finishing", clock


def _list(images: int, path: str) -> _Clock:
    _write_tar(path)
    of_one = _Clock()
    of_one.apart(lambda: pack(list(members_of(Disk(path), 0))), works=True)
    source = WebDatasetSource(tuple(Disk(f"/tars/{number:06d}.tar") for number in range(shard_count(images, _PER_TAR))))

    def spread(chore: Chore[Work, Result], pieces: Sequence[Work]) -> Iterator[Result]:
        for number in range(len(pieces)):
            yield cast("Result", unpack(clock.apart(partial(_packed, number), works=False), number))

    clock = _Clock()
    assert sum(1 for _ in source.listing(spread).samples) == len(source.files) * _PER_TAR
    clock.stop()
    clock.workers = of_one.workers * len(source.files)
    return clock


def _packed(number: int) -> bytes:
    """The listing of a tar as a worker sends it."""
    members = []
    for index in range(_PER_TAR):
        key, at = f"{number * _PER_TAR + index:012d}", index * 111_104
        members.append(Member(f"{key}.cls", (number, at + 512), 3, b"%d" % (index % 1000)))
        members.append(Member(f"{key}.jpg", (number, at + 1536), 107_000 + index, b""))
    return pack(members)


def _write_tar(path: str) -> None:
    """A tar like those listed above, but with tiny images."""
    with tarfile.open(path, "w") as file:
        for index in range(_PER_TAR):
            for suffix, data in (("cls", b"7"), ("jpg", b"image")):
                member = tarfile.TarInfo(f"{index:012d}.{suffix}")
                member.size = len(data)
                file.addfile(member, io.BytesIO(data))


class _Records:
    """The records of a variant, made when they are read."""

    def __init__(self, images: int, per_shard: int) -> None:
        source = {"kind": "imagenet-webdataset", "samples": images, "sha256": "0" * 64}
        self.recipe = replace(_RECIPE, config={**_RECIPE.config, "samples_per_shard": per_shard, "source": source})
        self.shards = shard_count(images, per_shard)
        self.clock = _Clock()
        kinds = (tuple(map(_row, range(kind * per_shard, (kind + 1) * per_shard))) for kind in range(_KINDS))
        self._kinds = [Record(0, self.shards, 0, "0" * 64, self.recipe, rows).by_column for rows in kinds]

    def read(self, name: str) -> bytes:
        number = int(name.split("-")[1])
        return self.clock.apart(lambda: replace(self._kinds[number % _KINDS], shard=number).data, works=False)

    @property
    def files(self) -> dict[str, int]:
        names = [shard_name(number, self.shards) for number in range(self.shards)]
        return {f"{name}{suffix}": 0 for name in names for suffix in (".json", ".tar")}


def _row(number: int) -> ImageRow:
    chance = random.Random(number)
    source, pixels = (hashlib.sha256(f"{what}{number}".encode()).hexdigest() for what in ("source", "pixels"))
    mean, changed, scale = chance.random() * 3, chance.random(), 0.5 + chance.random() / 10
    return ImageRow(
        key=f"{number:012d}",
        shard=number,
        label=number % 1000,
        source_path=f"{number // _PER_TAR:06d}.tar/{number:012d}.jpg",
        source_sha256=source,
        source_width=chance.randrange(300, 600),
        source_height=chance.randrange(300, 600),
        source_orientation=1,
        source_profile="",
        width=224,
        height=224,
        pixel_sha256=pixels,
        residual_mean_abs=mean,
        residual_max_abs=chance.randrange(1, 90),
        residual_changed=changed,
        crop_x=16,
        crop_y=59,
        scale_x=scale,
        scale_y=scale,
        extra={},
    )


@dataclass(frozen=True)
class _Store(Disk):
    """A disk whose records are made when they are read."""

    records: _Records

    def __truediv__(self, name: str) -> _Store:
        return _Store(f"{self.path}/{name}", self.records)

    def files(self) -> dict[str, int]:
        return self.records.files

    def read(self, most: int) -> bytes:
        return self.records.read(self.name)


if __name__ == "__main__":
    main()
