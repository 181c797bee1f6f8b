"""Rendering finished shards again, to learn whether this machine makes the same pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generators.variant import Variant, VariantError, parse
from manifests.schema import Recipe, Record
from manifests.verify import Problem
from pipelines.errors import UsageError
from pipelines.generate.config import Config, size_from_json
from pipelines.generate.render import Renderer
from pipelines.generate.sources import Sample, Segmented, Source

# What must agree for a sample to have been rendered alike.
_COMPARED = ("status", "label", "source_sha256", "width", "height", "pixel_sha256", "residual_mean_abs", "extra")


@dataclass(frozen=True)
class Again:
    """One shard to render again: its record's path, its samples, and the source to read them from."""

    record: Path
    samples: Sequence[Sample]
    source: Source


def config_of(recipe: Recipe) -> Config:
    """The configuration that a recipe was made with."""
    held = dict(recipe.config)
    try:
        source, size = held.pop("source"), held.pop("size")
        return Config(**held, size=size_from_json(size), source=tuple(source.items()))
    except (KeyError, TypeError) as error:
        raise UsageError(f"the records of {recipe.name} have a damaged configuration ({error})") from None


def _variant_of(recipe: Recipe, config: Config) -> Variant:
    return parse("+".join(token for token in recipe.variant.values() if token != "none"), config.base)


def check_source(recipe: Recipe, found: Mapping[str, Any]) -> None:
    """Raises UsageError where a source, as `describe` found it, is not the one that the shards were made from."""
    expected = recipe.config["source"]
    if expected != found:
        raise UsageError(
            f"--source has {found['samples']:,} samples of kind {found['kind']}, which are not the "
            f"{expected['samples']:,} of kind {expected['kind']} that the shards were made from"
        )


def explain(recipe: Recipe) -> list[str]:
    """Where this machine's libraries, CPU and code differ from those that made the shards."""
    config = config_of(recipe)
    return recipe.differences(config.recipe(_variant_of(recipe, config)))


def render_again(again: Again) -> list[Problem]:
    """Render a shard's samples and compare them with the record's rows."""
    record = Record.from_bytes(again.record.read_bytes(), again.record.name)
    try:
        return list(_compare(record, again))
    except (UsageError, VariantError, ValueError, KeyError) as error:
        return [Problem(str(again.record), f"cannot be rendered again ({error})")]


def _compare(record: Record, again: Again) -> Iterator[Problem]:
    config = config_of(record.recipe)
    variant = _variant_of(record.recipe, config)
    renderer = Renderer((variant,), config.base, config.geometry, config.size, config.image_format, record.shard)
    for row, sample, data in zip(record.rows, again.samples, again.source.read(again.samples), strict=True):
        classes = again.source.label_map(sample) if isinstance(again.source, Segmented) else None
        (rendered,) = renderer.render(sample, data, classes)
        changed = [name for name in _COMPARED if getattr(rendered.row, name) != getattr(row, name)]
        if changed:
            name = changed[0]
            yield Problem(
                f"{again.record.with_suffix('.tar')}, {row.key}",
                f"rendered again, {name} is {getattr(rendered.row, name)}, but the record says {getattr(row, name)}",
            )
