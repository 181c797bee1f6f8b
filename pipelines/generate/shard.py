"""Makes one shard for several variants, or a part of one: read, render, write, commit.

Streams: one sample is in memory at a time (or a batch, if a method runs on a GPU), and its images go straight into the
tars or, buffered with a few others, into a part. A tar is put in place when it is whole, and its record after it, so
that a record's presence means a whole shard.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from generators.variant import Variant
from manifests.kinds import kind_of
from manifests.row import Row
from manifests.schema import Recipe, Record
from manifests.untrusted import LARGEST_JSON
from pipelines.errors import RunError
from pipelines.generate.calls import Call
from pipelines.generate.config import Config
from pipelines.generate.given import Rendered, read
from pipelines.generate.output import Draft, Output
from pipelines.generate.parts import Part, PartWriter
from pipelines.generate.renderers import renderer
from pipelines.generate.sources import Sample, Source
from pipelines.generate.tar import TarWriter, member


@dataclass(frozen=True)
class Task:
    """A shard's samples, or those from index `first` on, for the variants that do not have the shard yet.

    `part` is the name of the part to make from them, or None if they are the whole shard.
    """

    shard: int
    shards: int
    samples: Sequence[Sample]
    variants: tuple[Variant, ...]
    first: int = 0
    part: str | None = None

    def __str__(self) -> str:
        if self.part is None:
            return f"shard {self.shard}"
        return f"shard {self.shard}, images {self.first:,} to {self.first + len(self.samples) - 1:,}"


@dataclass(frozen=True)
class Join:
    """A shard whose parts, given in order, are all made, to be joined for some of its variants."""

    shard: int
    shards: int
    variants: tuple[Variant, ...]
    parts: tuple[str, ...]

    def __str__(self) -> str:
        return f"shard {self.shard}"


@dataclass(frozen=True)
class Job:
    """What all tasks of a run share.

    `recipes` are stored in records, by variant. `kinds` are the kinds of machine known to make the right bytes.
    `methods` are the digests of methods' outputs, by which another machine finds the method that differs.
    """

    config: Config
    source: Source
    output: Output
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    kinds: frozenset[str] = frozenset()
    methods: Mapping[str, str] = field(default_factory=dict)

    def render(
        self,
        task: Task,
        samples: Sequence[Sample],
        lethal: Mapping[Call, str],
        tell: Callable[[Call | None], None] | None = None,
    ) -> Iterator[dict[str, Rendered]]:
        """Some of a task's samples, in order, each as a result for every variant, by name.

        `lethal` maps calls that must not be made to the reason; `tell` is called with each other call before it is
        made, and with None after it.
        """
        names = [variant.name for variant in task.variants]
        renders = renderer(self.config, task.variants, task.shard, lethal, tell)
        for rendered in renders.render_all(read(self.source, samples)):
            yield dict(zip(names, rendered, strict=True))


def members_of(rendered: Rendered, config: Config) -> bytes:
    """The bytes of a sample's members in a tar; none if it failed."""
    row, files = rendered
    if files is None:
        return b""
    texts = row.members(config.in_manifests)
    found = ((extension, files[extension] if text is None else text) for extension, text in texts.items())
    return b"".join(member(f"{row.key}.{extension}", data) for extension, data in found)


def make_shard(task: Task, job: Job, lethal: Mapping[Call, str]) -> Generator[int, None, int]:
    """Write a task's shard, or part of one; yields 1 for each sample, and returns how many failed in any variant.

    Raises RunError if the output cannot be written, or if it is on a disk that this worker does not see.
    """
    _check_disk(job)
    failed = 0
    with job.output.writing(), contextlib.ExitStack() as stack:
        sink = (_Whole if task.part is None else _Partly)(task, job, stack)
        for results in job.render(task, task.samples, lethal):
            sink.add(results)
            failed += any(rendered.files is None for rendered in results.values())
            yield 1
        sink.commit()
    return failed


def join_shard(join: Join, job: Job) -> None:
    """Join a shard from its parts, for some of its variants. Raises RunError as `make_shard` does."""
    _check_disk(job)
    with job.output.writing():
        parts: dict[str, Part] = {}
        for name in join.parts:
            with job.output.reading(name):
                parts[name] = Part(job.output.part(name).pieces(), kind_of(job.config.dataset))
        for variant in join.variants:
            with job.output.draft() as draft:
                tar = TarWriter(draft.file)
                rows: list[Row] = []
                for name, part in parts.items():
                    with job.output.reading(name):
                        for members in part.members(variant.name):
                            tar.append(members)
                        rows += part.rows(variant.name)
                _commit(join, job, draft, tar, variant.name, rows)


def _check_disk(job: Job) -> None:
    """Raises RunError if this machine does not see the output's disk."""
    if not job.output.is_seen():
        raise RunError(f"a worker does not see {job.output.root}: give a path that all nodes share, or a URI")


class _Sink(ABC):
    """Destination of a task's results."""

    def __init__(self, task: Task, job: Job, stack: contextlib.ExitStack) -> None:
        self._task, self._job = task, job
        self._names = [variant.name for variant in task.variants]
        self._enter(stack)

    @abstractmethod
    def _enter(self, stack: contextlib.ExitStack) -> None: ...

    @abstractmethod
    def add(self, results: Mapping[str, Rendered]) -> None:
        """Add the next sample, by variant."""

    @abstractmethod
    def commit(self) -> None:
        """Finish after the last sample."""


class _Whole(_Sink):
    """Writes whole tars and their records."""

    def _enter(self, stack: contextlib.ExitStack) -> None:
        self._drafts = {name: stack.enter_context(self._job.output.draft()) for name in self._names}
        self._tars = {name: TarWriter(draft.file) for name, draft in self._drafts.items()}
        self._rows: dict[str, list[Row]] = {name: [] for name in self._names}

    def add(self, results: Mapping[str, Rendered]) -> None:
        for name, rendered in results.items():
            self._rows[name].append(rendered.row)
            self._tars[name].append(members_of(rendered, self._job.config))

    def commit(self) -> None:
        for name, tar in self._tars.items():
            _commit(self._task, self._job, self._drafts[name], tar, name, self._rows[name])


class _Partly(_Sink):
    """Writes one part."""

    def _enter(self, stack: contextlib.ExitStack) -> None:
        self._draft = stack.enter_context(self._job.output.draft())
        self._part = PartWriter(self._draft.file, self._names)

    def add(self, results: Mapping[str, Rendered]) -> None:
        for name, rendered in results.items():
            self._part.add(name, rendered.row, members_of(rendered, self._job.config))
        self._part.end_sample()

    def commit(self) -> None:
        assert self._task.part
        self._part.close()
        self._job.output.commit(self._draft, self._job.output.part(self._task.part), durable=False)


def _commit(of: Task | Join, job: Job, draft: Draft, tar: TarWriter, name: str, rows: Sequence[Row]) -> None:
    """Put a shard's tar in place, and then its record."""
    output = job.output
    tar.close()
    output.commit(draft, output.tar(name, of.shard, of.shards))
    data = Record(of.shard, of.shards, tar.size, tar.sha256, job.recipes[name], tuple(rows)).to_bytes()
    if len(data) > LARGEST_JSON:  # nothing here would read it
        raise RunError(f"the record of shard {of.shard} is too large: give a smaller --samples-per-shard")
    output.write(output.record(name, of.shard, of.shards), data)
