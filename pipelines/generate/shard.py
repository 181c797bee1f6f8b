"""One shard for several variants: read, render, write, commit.

Streams: one sample is in memory at a time (where a method runs on a GPU, a batch), and its images go straight into the
tars. A tar is put in place when it is whole, and its record after it, so that a record's presence means a whole shard.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from generators.variant import Variant
from manifests.schema import LABEL_MAP, Recipe, Record, Row
from manifests.untrusted import LARGEST_JSON
from pipelines.errors import RunError
from pipelines.generate.calls import Call
from pipelines.generate.config import Config
from pipelines.generate.output import Output
from pipelines.generate.render import Rendered, Renderer, read
from pipelines.generate.sources import Sample, Source
from pipelines.generate.tar import TarWriter


@dataclass(frozen=True)
class Task:
    """One shard's work: which samples, and the variants that do not have it yet."""

    shard: int
    shards: int
    samples: Sequence[Sample]
    variants: tuple[Variant, ...]


@dataclass(frozen=True)
class Job:
    """What all tasks of a run share. `recipes`, by variant name, are what records hold. `kinds` are the kinds of
    machine that are known to make the bytes that they stand for; by `methods`, others can tell the method that differs.
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
        """Some of a task's samples, in order: each as one result for every variant, by name.

        `lethal` are calls that are not made, with the reason; `tell` is told of those that are, before they are,
        and None after each.
        """
        config, source = self.config, self.source
        renderer = Renderer(
            task.variants, config.base, config.geometry, config.size, config.image_format, task.shard, lethal, tell
        )
        names = [variant.name for variant in task.variants]
        for rendered in renderer.render_all(read(source, samples)):
            yield dict(zip(names, rendered, strict=True))


def make_shard(task: Task, job: Job, lethal: Mapping[Call, str]) -> int:
    """Write the task's shard for each of its variants; the number of samples that failed in any of them.

    A worker that does not see the output's disk refuses. Raises RunError for that, and where the output cannot be
    written.
    """
    output = job.output
    if not output.is_seen():
        raise RunError(f"a worker does not see {output.root}: give a path that all nodes share, or a URI")
    rows: dict[str, list[Row]] = {variant.name: [] for variant in task.variants}
    failed = 0
    with output.writing(), contextlib.ExitStack() as stack:
        drafts = {name: stack.enter_context(output.draft()) for name in rows}
        tars = {name: TarWriter(draft.file) for name, draft in drafts.items()}
        for results in job.render(task, task.samples, lethal):
            for name, rendered in results.items():
                rows[name].append(rendered.row)
                add_members(tars[name], rendered, job.config)
            failed += any(rendered.image is None for rendered in results.values())
        for name, tar in tars.items():
            tar.close()
            output.commit(drafts[name], output.tar(name, task.shard, task.shards))
            record = Record(task.shard, task.shards, tar.size, tar.sha256, job.recipes[name], tuple(rows[name]))
            data = record.to_bytes()
            if len(data) > LARGEST_JSON:  # which nothing here would read
                raise RunError(f"the record of shard {task.shard} is too large: give a smaller --samples-per-shard")
            output.write(output.record(name, task.shard, task.shards), data)
    return failed


def add_members(tar: TarWriter, rendered: Rendered, config: Config) -> None:
    """Append a sample's members, of which there are none where it failed."""
    key = rendered.row.key
    if rendered.image is None:
        return
    tar.add(f"{key}.{config.image_format}", rendered.image)
    if rendered.label_map is not None:
        tar.add(f"{key}.{LABEL_MAP}", rendered.label_map)
    for extension, text in rendered.row.texts(config.dataset).items():
        tar.add(f"{key}.{extension}", text)
