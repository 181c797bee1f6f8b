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
from manifests.schema import LABEL_MAP, Record, Row
from pipelines.errors import RunError
from pipelines.generate.config import Config
from pipelines.generate.output import Output
from pipelines.generate.render import Rendered, Renderer
from pipelines.generate.sources import Sample, Segmented, Source
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
                classes = source.label_map(sample) if isinstance(source, Segmented) else None
                results = dict(zip(rows, renderer.render(sample, data, classes), strict=True))
                for name, rendered in results.items():
                    rows[name].append(rendered.row)
                    _add(tars[name], rendered, config)
                failed += any(rendered.image is None for rendered in results.values())
        for name, tar in tars.items():
            os.replace(partial[name], output.tar(name, task.shard, task.shards))
            record = Record(task.shard, task.shards, tar.size, tar.sha256, own[name], tuple(rows[name]))
            output.write(output.record(name, task.shard, task.shards), record.to_bytes())
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)
    return failed


def _add(tar: TarWriter, rendered: Rendered, config: Config) -> None:
    key = rendered.row.key
    if rendered.image is None:
        return
    tar.add(f"{key}.{config.image_format}", rendered.image)
    if rendered.label_map is not None:
        tar.add(f"{key}.{LABEL_MAP}", rendered.label_map)
    for extension, text in rendered.row.texts(config.dataset).items():
        tar.add(f"{key}.{extension}", text)
