"""Makes a set's shards, from parsed options to finished folders.

Everything that can be refused is refused before Ray starts.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any

import pyarrow as pa
from PIL import Image

from generators.draw import mixes_here
from generators.own import with_own
from generators.registry import Method
from generators.selection import expand
from generators.variant import Variant, VariantError
from manifests.images import COLUMNS
from manifests.schema import CARD, MOST_SHARDS, TABLE
from manifests.untrusted import MOST_ROWS, read_groups
from pipelines.errors import RunError, UsageError
from pipelines.generate import existing, frames, report
from pipelines.generate.aim import Aim, aim_of
from pipelines.generate.card import alike, card
from pipelines.generate.config import Config, methods_of
from pipelines.generate.croissant import CROISSANT, croissant, parts_in
from pipelines.generate.frames import Misfit, misfit
from pipelines.generate.machines import Machines, log_line, neighbours
from pipelines.generate.options import Options
from pipelines.generate.output import Output
from pipelines.generate.plan import plan, remaining, shard_count
from pipelines.generate.progress import follow
from pipelines.generate.releases import ReleaseVersions, check_nodes, prepare, say_what_is_missing
from pipelines.generate.schedule import Lane, Schedule
from pipelines.generate.shard import Job
from pipelines.generate.sources import Sample
from pipelines.generate.sources.find import Found, find
from pipelines.generate.spread import over
from pipelines.generate.work import make as make_shard
from pipelines.generate.work import problem_here
from pipelines.progress import TICK, say
from pipelines.store import Place, place_of
from pipelines.work import Work
from pipelines.work.cluster import Ray


@dataclass(frozen=True)
class Made:
    """The result of a run: the dataset's folder, and the summaries of the requested variants."""

    root: Place
    summaries: Sequence[Mapping[str, Any]]
    degenerate: Sequence[Sequence[str]]
    nothing_to_do: bool

    @property
    def failed(self) -> bool:
        """Whether any sample failed."""
        return any(summary["totals"]["failed"] for summary in self.summaries)


def make(options: Options, ray: Ray | None = None) -> Made | None:
    """Make the missing shards of the requested variants, on `ray` or a new instance. None for a dry run."""
    with contextlib.ExitStack() as stack:
        try:
            return _generate(options, ray or stack.enter_context(contextlib.closing(Ray(options.cluster))))
        except (KeyboardInterrupt, SystemExit):
            raise RunError("stopped: whole shards are kept, and the same command continues") from None


def _generate(options: Options, ray: Ray) -> Made | None:
    aim = aim_of(options)
    own = methods_of(options.methods)
    draws = mixes_here((*options.variants, options.reference), options.seed or 0)
    _, variants = _variants(options, aim, with_own((*own, *draws)), ray)
    if options.seed is not None and not any(variant.drawn for variant in variants):
        raise UsageError(
            "--seed applies only to mix_decode and mix_resize, and no variant here uses them: leave it out"
        )
    found = find(options.dataset, options.inputs, options.limit, over(ray), options.split)
    for note in found.notes:
        say(note)
    config = aim.config(found, own, draws)
    _check_shards(len(found.samples), config.samples_per_shard)
    output = Output(output_place(options.output) / options.dataset, split=config.split)
    if options.dry_run:
        say_what_is_missing(method for variant in (config.base, *variants) for method in variant.methods)
        print(report.dry_run(str(output.root), variants, len(found.samples), config))
        return None
    with output.locked() as held:
        try:
            return _make(options, variants, found, config, held, ray)
        except BaseException:
            ray.close()  # or its workers would keep writing
            raise


def _make(
    options: Options, variants: Sequence[Variant], found: Found, config: Config, output: Output, ray: Ray
) -> Made:
    releases = prepare(method for variant in (config.base, *variants) for method in variant.methods)
    if options.dataset == "cityscapes":
        _check_png({one.decode for variant in (config.base, *variants) for one in variant.each})
    recorded = existing.recorded(output)
    beside = neighbours(config, variants, recorded)
    check = partial(_check_nodes, Job(config, found.source, output), found, releases)
    machines = Machines(config, (*variants, *beside), recorded, ray, check)
    made = machines.recipes()
    shards = shard_count(len(found.samples), config.samples_per_shard)
    with output.writing():
        spread = over(ray)
        asked = {variant.name: made[variant.name] for variant in variants}
        recipes = existing.continued(output, asked, recorded, shards, options.overwrite, spread)
        output.begin(recipes, options.overwrite, recorded, {variant.name: made[variant.name] for variant in beside})
        done = {name: output.done(name, shards, recipe, spread) for name, recipe in recipes.items()}
        job = Job(config, found.source, output, recipes, methods=machines.methods)
        nothing_to_do = not _run(options, variants, found.samples, job, done, machines, ray)
        summaries = [output.finish(recipe, shards, spread) for recipe in recipes.values()]
        parts = list(parts_in(output.root))
        known = [part.summary for part in parts]
        output.write(output.root / CARD, card(options.dataset, known))
        output.write(output.root / CROISSANT, croissant(options.dataset, parts))
    if found.sizes and (wrong := _misfit(output.root / next(iter(recipes)), found, config)):
        say(str(wrong))
    return Made(output.root, summaries, list(alike(known)), nothing_to_do)


def _misfit(folder: Place, found: Found, config: Config) -> Misfit | None:
    """How the image sizes stated by the source differ from those that the reference's decoder returns."""
    with (folder / TABLE).open() as file:
        groups = read_groups(file, pa.schema([COLUMNS.field(name) for name in frames.COLUMNS]))
        rows = (row for group in groups for row in group.to_pylist())
        return misfit(rows, found.sizes, config.base.decode.token == frames.TURNS)


def _check_shards(samples: int, per_shard: int) -> None:
    """Raises UsageError for more shards, or larger ones, than can be read again."""
    if shard_count(samples, per_shard) > MOST_SHARDS:
        enough = shard_count(samples, MOST_SHARDS)
        raise UsageError(f"more than {MOST_SHARDS:,} shards for a variant: give --samples-per-shard {enough} or more")
    if min(samples, per_shard) > MOST_ROWS:
        raise UsageError(f"--samples-per-shard {per_shard}: give {MOST_ROWS} or less")


def _check_nodes(job: Job, found: Found, releases: ReleaseVersions, engine: ModuleType) -> None:
    """Raises UsageError if a node of the cluster lacks something that the run needs."""
    engine.check_nodes(problem_here, job, found.samples[0])
    check_nodes(engine, releases)


def _run(
    options: Options,
    variants: Sequence[Variant],
    samples: Sequence[Sample],
    job: Job,
    done: Mapping[str, set[int]],
    machines: Machines,
    ray: Ray,
) -> bool:
    """Make the shards that are not done yet; False if there are none."""
    per_shard = job.config.samples_per_shard
    lanes = [[variant for variant in variants if job.config.needs_gpu(variant) == gpu] for gpu in (False, True)]
    left = [remaining(len(samples), per_shard, some, done) for some in lanes]
    shards, samples_left = map(sum, zip(*left, strict=True))
    if not shards:
        return False
    say(f"shards to make: {shards:,}, variants: {len(variants)}; starting Ray")
    engine = ray.engine()
    fit = machines.sort_out()
    job.output.log(log_line([variant.name for variant in variants], job.config, shards, fit))
    job = replace(job, kinds=fit.kinds)
    on_cpus, on_gpus = (
        Lane(plan(samples, per_shard, some, done), of_these) for some, (_, of_these) in zip(lanes, left, strict=True)
    )
    schedule = Schedule(on_cpus, on_gpus, job.source, job.output.discard, options.images_per_task)
    make, limit = partial(make_shard, limit=options.shard_timeout), options.shard_timeout
    work = Work(make, job, str, limit, ", which --shard-timeout can raise", fit.without)
    follow(engine.run(work, schedule.cpus, schedule.gpus, options.cluster.workers, TICK), samples_left, options.dataset)
    return True


def _variants(options: Options, aim: Aim, known: Mapping[str, Method], ray: Ray) -> tuple[Variant, list[Variant]]:
    """The reference and the requested variants. Raises UsageError for an unknown variant, or one that cannot run."""
    try:
        gpu = None
        if options.cluster.address:  # it may have a GPU if this machine has none: asked only if it matters
            base = aim.base(gpu=True, known=known)
            wanted, _ = expand(options.variants, base, gpu=True, known=known)
            gpu = any(variant.gpu for variant in (base, *wanted)) and ray.engine().gpus() > 0
        base = aim.base(gpu, known)
        variants, skipped = expand(options.variants, base, gpu, known=known)
    except VariantError as error:
        raise UsageError(str(error)) from None
    for problem, tokens in report.by_problem(skipped).items():
        say(f"skipped: {', '.join(tokens)}: {problem}")
    if not variants:
        raise UsageError("none of these variants can be made here: see --list-variants")
    return base, variants


def _check_png(decoders: Iterable[Method]) -> None:
    """Raises UsageError, once for all samples, if a decoder cannot read PNG."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "PNG")
    for method in decoders:
        if method.gpu:  # it may be on another machine; DALI decodes PNG on the CPU there
            continue
        try:
            method.load()(buffer.getvalue(), *((1,) if method.shrinks else (1, 1) if method.whole else ()))
        except Exception as error:  # libraries have their own exceptions
            raise UsageError(f"{method.token} cannot read PNG ({error}): leave it out with this dataset") from None


def output_place(output: str) -> Place:
    """The place given by `--output`. Raises UsageError if it would be deleted with a Ray job's copy of the code."""
    if "://" not in output and not os.path.isabs(output) and "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        raise UsageError(
            f"--output {output} is relative, but a Ray job runs in a temporary copy of the code: give an absolute path "
            "that all nodes share, or a URI"
        )
    return place_of(output, "--output")
