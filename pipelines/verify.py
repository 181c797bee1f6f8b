"""What `verify.py` does: checks every byte and, if asked, renders every sample again.

What cannot be rendered again is refused at once, before hours of checking.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator, Sequence

from generators.registry import Method
from manifests.mels import TOLERANCE
from manifests.schema import Recipe, Record
from manifests.verify import Problem, records_in, records_of, variant_folders
from pipelines.check import check, item_in, problems_in, show
from pipelines.errors import UsageError
from pipelines.generate.compare import (
    Again,
    check_gpu,
    check_methods,
    check_source,
    explain,
    gpu_methods,
    prepare_for,
    render_again,
)
from pipelines.generate.config import describe, methods_of
from pipelines.generate.sources.find import Found, find
from pipelines.options import Cluster, Inputs
from pipelines.store import Place
from pipelines.text import number_of
from pipelines.work import Work
from pipelines.work.cluster import Ray


def verify(place: Place, render: bool, inputs: Inputs, cluster: Cluster, methods: Sequence[str] = ()) -> int:
    """Check the shards at a place and print what is wrong; returns the exit status (1 if something is)."""
    folders = variant_folders(place)
    if not folders:
        raise UsageError(f"no shards at {place}: give the folder that generate.py wrote to")
    if (inputs != Inputs() or methods) and not render:
        raise UsageError("--source, --labels, --annotations and --method apply only with --render")
    own = methods_of(methods)
    again = list(_again(folders, inputs, own)) if render else []
    shards = sum(len(records_in(folder)) for folder in folders)
    with contextlib.closing(Ray(cluster)) as ray:
        problems = check(folders, ray)
        for gpu in (False, True):
            pieces = [one for one in again if one.gpu == gpu]
            samples = sum(len(one.samples) for one in pieces)
            if pieces:
                work = Work(_render, folders[0], lambda one: str(one.record))
                problems += problems_in(pieces, work, ray, samples, folders, "rendered again", gpu)
    return _report(problems, folders, shards, render, own)


def _render(again: Again, _: Place, careful: bool) -> Generator[int, None, list[Problem]]:
    return (yield from render_again(again))


def _again(folders: Sequence[Place], inputs: Inputs, methods: tuple[Method, ...]) -> Iterator[Again]:
    """What to render: every readable record of these variants, which must all have the same source."""
    datasets = {folder.parent for folder in folders}
    if len(datasets) > 1:
        raise UsageError("--render takes the shards of one dataset at a time: give that dataset's folder")
    check_methods(_recipes(folders), methods)
    check_gpu(_recipes(folders), methods)
    prepare_for(_recipes(folders), methods)
    listed: Found | None = None
    for place in (place for folder in folders for place in records_of(folder)[0]):
        record = Record.read(place)
        config = record.recipe.config
        if listed is None:
            listed = find(config["dataset"], inputs, config["source"].get("samples"), split=record.recipe.split)
            described = dict(describe(listed))
        check_source(record.recipe, described)
        first = record.shard * config["samples_per_shard"]
        samples = listed.samples[first : first + len(record.rows)]
        gpu = bool(gpu_methods(record.recipe, methods))
        yield Again(place, samples, listed.source, gpu, methods)


def _recipes(folders: Iterable[Place]) -> Iterator[Recipe]:
    """The recipe of each variant that has a record."""
    for folder in folders:
        for place in records_of(folder)[0][:1]:
            yield Record.read(place).recipe


def _report(
    problems: Sequence[Problem], folders: Sequence[Place], shards: int, rendered: bool, methods: tuple[Method, ...]
) -> int:
    near = [problem for problem in problems if problem.promised]
    problems = [problem for problem in problems if not problem.promised]
    show(problems)
    checked = f"{number_of(shards, 'shard')} of {number_of(len(folders), 'variant')}"
    if problems:
        if rendered:
            _print_differences(folders, methods)
        print(f"FAILED: {number_of(len(problems), 'problem')} in {checked}")
        return 1
    item = item_in(folders)
    if near:
        print(
            f"{number_of(len(near), item)} rendered again with different last bits, within the {TOLERANCE:g} "
            f"promised between kinds of machines (first: {near[0]})"
        )
        _print_differences(folders, methods)
    print(f"OK: {checked}, every {item} decoded and {'rendered again' if rendered else 'checked'}")
    return 0


def _print_differences(folders: Iterable[Place], methods: tuple[Method, ...]) -> None:
    """Print how this machine differs from the one that made the shards."""
    for difference in _explanations(folders, methods):
        print(f"this machine differs from the one that made the shards in {difference}")


def _explanations(folders: Iterable[Place], methods: tuple[Method, ...]) -> list[str]:
    found: dict[str, None] = {}
    for recipe in _recipes(folders):
        with contextlib.suppress(UsageError, ValueError, KeyError):  # a recipe that was edited explains nothing
            found.update(dict.fromkeys(explain(recipe, methods)))
    return list(found)
