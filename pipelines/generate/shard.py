"""One shard for several variants: read, render, write, commit.

Streams: one sample is in memory at a time, and its images go straight into the tars. A tar is renamed into place when
it is whole, and its record after it, so that a record's presence means a whole shard.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from generators.variant import Variant
from manifests.schema import Record, Row, canonical_json
from pipelines.errors import RunError
from pipelines.generate.config import Config
from pipelines.generate.output import Output
from pipelines.generate.render import Renderer
from pipelines.generate.sources import Sample, Source
from pipelines.generate.tar import TarWriter


@dataclass(frozen=True)
class Task:
    """One shard's work: which samples, and the variants that do not have it yet."""

    shard: int
    shards: int
    samples: Sequence[Sample]
    variants: tuple[Variant, ...]


def make_shard(task: Task, config: Config, source: Source, output: Output, recipes: dict[str, str]) -> int:
    """Write the task's shard for each of its variants; the number of samples that failed in any of them.

    `recipes` are the digests that the run was started with, by variant: a worker whose libraries would make other
    pixels refuses. Raises RunError for that, OSError where the output cannot be written.
    """
    renderer = Renderer(task.variants, config.base, config.geometry, config.size, config.image_format, task.shard)
    own = {variant.name: config.recipe(variant) for variant in task.variants}
    for name, recipe in own.items():
        if recipes[name] != recipe.sha256:
            raise RunError(f"this worker's libraries, CPU or code differ from those that the run began with ({name})")
    partial = {variant.name: output.partial() for variant in task.variants}
    rows: dict[str, list[Row]] = {variant.name: [] for variant in task.variants}
    failed = 0
    try:
        with contextlib.ExitStack() as stack:
            tars = {name: stack.enter_context(TarWriter(path)) for name, path in partial.items()}
            for sample, data in zip(task.samples, source.read(task.samples), strict=True):
                results = dict(zip(rows, renderer.render(sample, data), strict=True))
                for name, (row, image) in results.items():
                    rows[name].append(row)
                    if image is not None:
                        _add(tars[name], row, image, config.image_format)
                failed += any(row.status == "failed" for row, _ in results.values())
        for name, tar in tars.items():
            os.replace(partial[name], output.tar(name, task.shard, task.shards))
            record = Record(task.shard, task.shards, tar.size, tar.sha256, own[name], tuple(rows[name]))
            output.write(output.record(name, task.shard, task.shards), record.to_bytes())
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)
    return failed


def _add(tar: TarWriter, row: Row, image: bytes, image_format: str) -> None:
    tar.add(f"{row.key}.{image_format}", image)
    tar.add(f"{row.key}.cls", str(row.label).encode())
    tar.add(f"{row.key}.json", canonical_json(row.member()).rstrip(b"\n"))
