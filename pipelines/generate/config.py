"""One run's configuration: frozen, validated once at the edge, and the same for every variant of the run.

Holds only what decides bytes. How many workers there are, where the output lies and which variants were asked for
together is not part of it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import generators
import manifests
import pipelines.generate
from generators.variant import DEFAULT_REFERENCE, Method, Variant, VariantError, reference
from manifests.provenance import provenance
from manifests.schema import Recipe
from pipelines.errors import UsageError
from pipelines.generate import encode
from pipelines.generate.sources import Sample, Source, fingerprint

_CODE = tuple(Path(package.__path__[0]) for package in (generators, manifests, pipelines.generate))


@dataclass(frozen=True)
class Config:
    """What decides the bytes of a run, besides the variant and the library versions.

    `size` is the side of the output in pixels (0 for `identity`); `source` describes the samples: the layout, their
    number and a digest of their keys, labels, paths and sizes.
    """

    dataset: str
    geometry: str
    size: int
    reference: str
    image_format: str
    samples_per_shard: int
    source: tuple[tuple[str, Any], ...]

    @property
    def base(self) -> Variant:
        """The reference variant."""
        return base_variant(self.reference, self.geometry)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "reference": "+".join(_tokens(self.base)), "source": dict(self.source)}

    def recipe(self, variant: Variant) -> Recipe:
        """Everything that decides this variant's bytes on this machine."""
        libraries = {method.library.name: method.library for method in (*variant.methods, *self.base.methods)}
        versions = encode.versions(self.image_format)
        for library in libraries.values():
            versions.update(library.versions())
        return Recipe(variant.name, variant.spelled_out, self.as_json(), provenance(versions, _CODE))


def describe(source: Source, samples: list[Sample]) -> tuple[tuple[str, Any], ...]:
    """The `source` field of a configuration."""
    return (("kind", source.kind), ("samples", len(samples)), ("sha256", fingerprint(samples)))


def base_variant(text: str, geometry: str) -> Variant:
    """The reference for a geometry. Raises UsageError where it is no variant or cannot run here."""
    try:
        base = reference(text, resizes=geometry != "identity")
    except VariantError as error:
        raise UsageError(f"--reference: {error}") from None
    for method in base.methods:
        if problem := method.problem():
            raise UsageError(f"--reference: {method.token} cannot run here: {problem}")
    return base


def _tokens(variant: Variant) -> list[str]:
    methods: tuple[Method, ...] = variant.methods
    return [method.token for method in methods]


__all__ = ["DEFAULT_REFERENCE", "Config", "base_variant", "describe"]
