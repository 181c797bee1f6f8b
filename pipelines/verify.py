"""What `verify.py` does once its arguments are read: every byte checked and, if asked, every pixel rendered again.

Refuses, before hours of checking, what cannot be rendered again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence

from generators.registry import Method
from manifests.schema import Recipe, Record
from manifests.verify import Problem, records_in, records_of, variant_folders
from pipelines.check import check, show, spread
from pipelines.errors import UsageError
from pipelines.generate.compare import Again, check_gpu, check_methods, check_source, explain, gpu_methods, render_again
from pipelines.generate.config import describe, methods_of
from pipelines.generate.sources.find import Found, find
from pipelines.options import Inputs
from pipelines.store import Place


def verify(place: Place, render: bool, inputs: Inputs, workers: int, methods: Sequence[str] = ()) -> int:
    """Check what lies at a place, and say what is wrong; the exit status (1 where something is)."""
    folders = variant_folders(place)
    if not folders:
        raise UsageError(f"no shards at {place}: give the folder that generate.py wrote to")
    if (inputs != Inputs() or methods) and not render:
        raise UsageError("--source, --labels, --annotations and --method are of use with --render only")
    own = methods_of(methods)
    again = list(_again(folders, inputs, own)) if render else []  # what is wrong is refused before hours of checking
    shards = sum(len(records_in(folder)) for folder in folders)
    problems = check(folders, workers)
    on_gpu = [one for one in again if one.gpu]
    for shards_again, processes in (([one for one in again if not one.gpu], workers), (on_gpu, 1)):
        if shards_again:
            problems += spread(render_again, shards_again, processes, "rendering")
    return _report(problems, folders, shards, render, own)


def _again(folders: Sequence[Place], inputs: Inputs, methods: tuple[Method, ...]) -> Iterator[Again]:
    """What to render: every readable record of these variants, which must all be of the same source."""
    datasets = {folder.parent for folder in folders}
    if len(datasets) > 1:
        raise UsageError("--render takes the shards of one dataset at a time: name its folder")
    check_methods(_recipes(folders), methods)
    check_gpu(_recipes(folders), methods)
    found: Found | None = None
    for place in (place for folder in folders for place in records_of(folder)[0]):
        record = Record.read(place)
        config = record.recipe.config
        if found is None:
            found = find(config["dataset"], inputs, config["source"].get("samples"))
            described = dict(describe(found))
        check_source(record.recipe, described)
        first = record.shard * config["samples_per_shard"]
        samples = found.samples[first : first + len(record.rows)]
        gpu = bool(gpu_methods(record.recipe, methods))
        yield Again(place, samples, found.source, gpu, methods)


def _recipes(folders: Iterable[Place]) -> Iterator[Recipe]:
    """The recipe of each variant that has a record."""
    for folder in folders:
        for place in records_of(folder)[0][:1]:
            yield Record.read(place).recipe


def _report(
    problems: Sequence[Problem], folders: Sequence[Place], shards: int, rendered: bool, methods: tuple[Method, ...]
) -> int:
    show(problems)
    what = f"{shards:,} shard{'s' if shards != 1 else ''} of {len(folders):,} variant{'s' if len(folders) != 1 else ''}"
    if problems:
        if rendered:
            for difference in _explanations(folders, methods):
                print(f"this machine differs from the one that made the shards in {difference}")
        print(f"FAILED: {len(problems):,} problem{'s' if len(problems) != 1 else ''} in {what}")
        return 1
    print(f"OK: {what}, every image decoded and {'rendered again' if rendered else 'checked'}")
    return 0


def _explanations(folders: Iterable[Place], methods: tuple[Method, ...]) -> list[str]:
    found: dict[str, None] = {}
    for recipe in _recipes(folders):
        with contextlib.suppress(UsageError, ValueError, KeyError):  # a recipe that was edited explains nothing
            found.update(dict.fromkeys(explain(recipe, methods)))
    return list(found)
