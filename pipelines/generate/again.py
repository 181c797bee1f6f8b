"""Renders finished shards again, to find out whether this machine makes the same pixels."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from generators.audio.settings import MelSettings
from generators.draw import Draw, mixes_here, mixes_in
from generators.geometry import GEOMETRIES
from generators.own import named_in, of_program
from generators.registry import Method
from generators.variant import Variant, VariantError, in_full, parse
from manifests.mels import MELS
from manifests.row import Row
from manifests.schema import Recipe, Record
from manifests.verify import Problem
from pipelines.datasets import DATASETS
from pipelines.errors import RunError, UsageError
from pipelines.generate.config import Config, ImageConfig, SpeechConfig, size_from_json
from pipelines.generate.encode import FORMATS
from pipelines.generate.given import read
from pipelines.generate.machines.kinds import made_here
from pipelines.generate.releases import prepare
from pipelines.generate.renderers import renderer
from pipelines.generate.sources import Sample, Source
from pipelines.generate.speech.again import Held
from pipelines.store import Place
from pipelines.text import number_of

# Fields that must agree for a sample to count as rendered alike. Spectrograms' values are compared as well, and their
# residuals only if the values must agree to the bit.
_OF_ALL = ("status", "source_sha256", "extra")
_OF_IMAGES = (*_OF_ALL, "label", "width", "height", "pixel_sha256", "residual_mean_abs")
_OF_MELS = (*_OF_ALL, "text", "bands", "frames", "residual_frames")


@dataclass(frozen=True)
class Again:
    """One shard to render again: its record, its samples, the source to read them from, and whether to use a GPU.

    `methods` are the custom methods that it may need.
    """

    record: Place
    samples: Sequence[Sample]
    source: Source
    gpu: bool
    methods: tuple[Method, ...] = ()


def config_of(recipe: Recipe, methods: tuple[Method, ...] = ()) -> Config:
    """The configuration of a recipe, with the custom methods needed to make it again."""
    held = dict(recipe.config)
    for name, known in (("dataset", DATASETS), ("geometry", GEOMETRIES), ("image_format", FORMATS)):
        if name in held and held[name] not in known:
            raise UsageError(f"the records of {recipe.name} have an unknown {name}: {held[name]}")
    try:
        source = tuple(held.pop("source").items())
        if recipe.kind is MELS:
            return SpeechConfig(**held | {"mel": MelSettings(**held["mel"])}, source=source, methods=methods)
        size, draws = size_from_json(held["size"]), mixes_in(recipe.provenance["libraries"])
        return ImageConfig(**held | {"size": size}, source=source, methods=methods, draws=draws)
    except (KeyError, TypeError) as error:
        raise UsageError(f"the records of {recipe.name} have a damaged configuration ({error})") from None


def variant_of(recipe: Recipe, config: Config) -> Variant:
    """The variant of a recipe. Raises VariantError if it does not exist here."""
    return parse(in_full(recipe.variant), config.base, config.known)


def check_methods(recipes: Iterable[Recipe], methods: Iterable[Method]) -> None:
    """Raises UsageError if variants were made with custom programs that were not given, or that have changed."""
    given = {method.token: method for method in methods}
    for recipe in recipes:
        libraries = recipe.provenance["libraries"]
        for token, method in named_in(libraries).items():
            theirs = of_program(token, libraries)
            command = theirs[f"{token}={method.stage}"]
            if token not in given:
                raise UsageError(
                    f"{recipe.name} was made with a custom program, {token} ({command}): add "
                    f"--method {token}={method.stage}:PROGRAM"
                )
            mine = given[token].library.versions()
            changed = [name for name in sorted({*mine, *theirs}) if mine.get(name) != theirs.get(name)]
            if changed:
                here, there = (found.get(changed[0], "none") for found in (mine, theirs))
                raise UsageError(
                    f"--method {token} is not what made {recipe.name}: {changed[0]} is {here} here, and was {there}"
                )


def seed_of(recipes: Iterable[Recipe]) -> int | None:
    """The seed with which variants were drawn; None if nothing was drawn.

    Raises UsageError if there are several seeds, or if the methods to draw from differ from those available here.
    """
    seeds: dict[int, str] = {}
    for recipe in recipes:
        for method in mixes_in(recipe.provenance["libraries"]):
            draw = method.library
            assert isinstance(draw, Draw)
            seeds.setdefault(draw.seed, recipe.name)
            here = next(one.library for one in mixes_here([method.token], draw.seed) if one.stage == method.stage)
            if draw != here:
                there, mine = (library.versions()[method.token] for library in (draw, here))
                raise UsageError(f"{recipe.name} was drawn from other methods than can run here: {there}; here, {mine}")
    if len(seeds) > 1:
        one, other, *_ = seeds.values()
        raise UsageError(f"{one} and {other} were drawn with different seeds: rebuild them one at a time")
    return next(iter(seeds), None)


def check_source(recipe: Recipe, found: Mapping[str, Any]) -> None:
    """Raises UsageError if a source, as `describe` found it, is not the one that the shards were made from."""
    expected = recipe.config["source"]
    if expected != found:
        raise UsageError(
            f"--source has {number_of(found['samples'], 'sample')} of kind {found['kind']}, which are not the "
            f"{expected['samples']:,} of kind {expected['kind']} that the shards were made from"
        )


def _methods(recipe: Recipe, own: tuple[Method, ...]) -> list[Method]:
    """The methods of a variant and its reference; none if they do not exist here, which rendering reports."""
    try:
        config = config_of(recipe, own)
        return [*variant_of(recipe, config).methods, *config.base.methods]
    except (UsageError, ValueError, KeyError):
        return []


def gpu_methods(recipe: Recipe, own: tuple[Method, ...] = ()) -> list[Method]:
    """The methods of a variant and its reference that could run, given a GPU."""
    return [method for method in _methods(recipe, own) if method.gpu and not method.problem(gpu=True)]


def prepare_for(recipes: Iterable[Recipe], own: tuple[Method, ...] = ()) -> None:
    """Install the library releases that variants need. Raises UsageError for one that is not available."""
    prepare(method for recipe in recipes for method in _methods(recipe, own))


def check_gpu(recipes: Iterable[Recipe], own: tuple[Method, ...] = ()) -> None:
    """Raises UsageError, once for all samples, if variants need a GPU and this machine has none."""
    needed = {recipe.name: methods[0].library for recipe in recipes if (methods := gpu_methods(recipe, own))}
    for library in set(needed.values()):
        if reason := library.gpu_problem():
            raise UsageError(
                f"an NVIDIA GPU is needed to render {', '.join(needed)} again, and none was found ({reason}): name a "
                "folder of another variant, or leave out --render"
            )


def explain(recipe: Recipe, methods: tuple[Method, ...] = ()) -> list[str]:
    """Differences between what made the shards and this machine: libraries, GPU, and the pixels of the probe pictures.

    For shards of an earlier version, differences in the CPU and in our code.
    """
    config = config_of(recipe, methods)
    made = made_here(config, [variant_of(recipe, config)])
    (mine,) = made.recipes.values()
    if recipe.is_probed:
        return recipe.differences(mine)
    features = {key: made.about["cpu"][key] for key in recipe.provenance["cpu"] if key in made.about["cpu"]}
    held = {**mine.provenance, "cpu": features, "code_sha256": made.about["code_sha256"]}
    del held["probe_sha256"]
    return recipe.differences(replace(mine, provenance=held))


def render_again(again: Again) -> Generator[int, None, list[Problem]]:
    """Render a shard's samples and compare them with the record's rows; yields 1 for each sample."""
    record = Record.read(again.record)
    found: list[Problem] = []
    try:
        for problems in _compare(record, again):
            found += problems
            yield 1
    except SystemExit as lost:  # a GPU was lost; this process's pool would pass SystemExit on to its parent
        raise RunError(f"{again.record}: {lost}") from None
    except (UsageError, VariantError, ValueError, KeyError) as error:
        return [Problem(str(again.record), f"cannot be rendered again ({error})")]
    return found


def _compare(record: Record, again: Again) -> Iterator[list[Problem]]:
    """The differences of each sample in turn."""
    config = config_of(record.recipe, again.methods)
    variant = variant_of(record.recipe, config)
    tar = again.record.parent / f"{record.name}.tar"
    rendered_again = renderer(config, (variant,), record.shard).render_all(read(again.source, again.samples))
    with contextlib.ExitStack() as stack:
        held: Held | None = None
        names: tuple[str, ...] = _OF_IMAGES
        last: tuple[str, ...] = ()
        if record.recipe.kind is MELS:
            mine = made_here(config, [variant]).recipes[variant.name]
            exact = mine.provenance == record.recipe.provenance
            held = Held(stack.enter_context(tar.open()), exact=exact)
            names, last = _OF_MELS, MELS.residual_columns if exact else ()
        for row, (rendered,) in zip(record.rows, rendered_again, strict=True):
            where = f"{tar}, {row.key}"
            found = list(_differences(where, row, rendered.row, names))[:1]
            found = found or (held.differences(where, row, rendered) if held else [])
            yield found or list(_differences(where, row, rendered.row, last))[:1]


def _differences(where: str, row: Row, made: Row, names: Iterable[str]) -> Iterator[Problem]:
    for name in names:
        if getattr(made, name) != (held := getattr(row, name)):
            yield Problem(where, f"rendered again, {name} is {getattr(made, name)}, but the record says {held}")
