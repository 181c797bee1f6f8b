"""A whole run, from options to finished folders: what `generate.py` does once its arguments are read.

Everything that can be refused is refused before Ray starts.
"""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from PIL import Image

from generators.geometry import Size
from generators.variant import Method, Variant, VariantError, expand
from manifests.schema import CARD
from pipelines.errors import RunError, UsageError
from pipelines.generate import report
from pipelines.generate.card import card, degenerate
from pipelines.generate.config import Config, base_variant, describe
from pipelines.generate.datasets import DATASETS, choose_geometry
from pipelines.generate.output import Output, cannot_write
from pipelines.generate.plan import plan, shard_count
from pipelines.generate.progress import follow
from pipelines.generate.sources.find import Found, Inputs, find
from pipelines.progress import TICK, say


@dataclass(frozen=True)
class Options:
    """What the command line asks for, checked no further than argparse does."""

    variants: tuple[str, ...]
    dataset: str
    inputs: Inputs
    output: str
    geometry: str | None
    size: Size | None
    reference: str
    samples_per_shard: int | None
    image_format: str
    limit: int | None
    workers: int | None
    overwrite: bool
    address: str | None
    dry_run: bool


def generate(options: Options) -> int:
    """Make what is missing of the asked variants; the exit status (0, or 1 if samples failed)."""
    geometry, size = choose_geometry(options.dataset, options.geometry, options.size)
    base = base_variant(options.reference, geometry)
    variants = _variants(options.variants, base)
    if options.dataset == "cityscapes":
        _check_png({variant.decode for variant in (base, *variants)})
    found = find(options.dataset, options.inputs, options.limit)
    for note in found.notes:
        say(note)
    config = Config(
        dataset=options.dataset,
        geometry=geometry,
        size=size,
        reference=options.reference,
        image_format=options.image_format,
        samples_per_shard=options.samples_per_shard or DATASETS[options.dataset].samples_per_shard,
        source=describe(found),
    )
    output = Output(str(_absolute(options.output) / options.dataset))
    if options.dry_run:
        print(report.dry_run(output.root, variants, len(found.samples), config))
        return 0
    with output.locked():
        try:
            return _make(options, variants, found, config, output)
        except OSError as error:
            raise cannot_write(output.root, error) from None


def _make(options: Options, variants: Sequence[Variant], found: Found, config: Config, output: Output) -> int:
    recipes = {variant.name: config.recipe(variant) for variant in variants}
    output.begin(recipes, options.overwrite)
    shards = shard_count(len(found.samples), config.samples_per_shard)
    done = {variant.name: output.done(variant.name, shards, recipes[variant.name]) for variant in variants}
    tasks = list(plan(found.samples, config.samples_per_shard, variants, done))
    if tasks:
        from pipelines.generate import engine  # imports Ray, which is not needed where nothing is left to do

        digests = {name: recipe.sha256 for name, recipe in recipes.items()}
        say(f"{len(tasks):,} of {shards:,} shards to make, variants: {len(variants)}; starting Ray")
        try:
            in_flight = engine.start(options.address, options.workers)
            signal.signal(signal.SIGTERM, stop)  # Ray has put a handler of its own in its place
            results = engine.run(tasks, engine.Job(config, found.source, output, digests), in_flight, TICK)
            follow(results, sum(len(task.samples) for task in tasks))
        except (KeyboardInterrupt, SystemExit):
            raise RunError("stopped: whole shards are kept, and the same command continues") from None
        finally:
            engine.stop()
    summaries = [output.finish(variant.name, shards) for variant in variants]
    root = Path(output.root)
    output.write(root / CARD, card(root))
    print(report.finished(root, summaries, degenerate(root), nothing_to_do=not tasks))
    return int(any(summary["totals"]["failed"] for summary in summaries))


def stop(signum: int, frame: FrameType | None) -> None:
    """Let SIGTERM end a run as Ctrl-C does."""
    raise KeyboardInterrupt


def _variants(words: Iterable[str], base: Variant) -> list[Variant]:
    try:
        variants, skipped = expand(words, base)
    except VariantError as error:
        raise UsageError(str(error)) from None
    for token, problem in skipped.items():
        say(f"left out: {token} {problem}")
    if not variants:
        raise UsageError("no variant is left to make: see --list-variants")
    return variants


def _check_png(decoders: Iterable[Method]) -> None:
    """Raises UsageError where a decoder cannot read PNG: said once, and not for every sample."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "PNG")
    for method in decoders:
        try:
            method.load()(buffer.getvalue())
        except Exception as error:  # libraries have exceptions of their own
            raise UsageError(f"{method.token} cannot read PNG ({error}): leave it out with this dataset") from None


def _absolute(output: str) -> Path:
    if "://" in output:
        raise UsageError(f"--output {output}: URIs are not supported yet, give a path")
    if not os.path.isabs(output) and "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        raise UsageError(
            f"--output {output} is relative, and a Ray job runs in a copy that is thrown away: give an absolute path"
        )
    return Path(output).absolute()
