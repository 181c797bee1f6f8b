"""Recipes: what decides a variant's bytes, and how two of them differ."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from manifests.canonical import digest
from manifests.kinds import kind_of
from manifests.row import Kind
from manifests.shape import COUNT, NAME, SHA256, expect
from manifests.splits import SPLITS, VALIDATION, split_of


@dataclass(frozen=True)
class Recipe:
    """What decides a variant's bytes: its methods, configuration and provenance, all as plain JSON values."""

    name: str
    variant: dict[str, str]
    config: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def sha256(self) -> str:
        return digest(asdict(self))

    @property
    def kind(self) -> Kind:
        """The kind of result that its samples are made into."""
        return kind_of(str(self.config["dataset"]))

    @property
    def split(self) -> str:
        return split_of(self.config)

    @property
    def is_probed(self) -> bool:
        """Whether it has a digest of the probe pictures; recipes of earlier versions have one of the code instead."""
        return "probe_sha256" in self.provenance

    def shared_with(self, other: Recipe) -> Recipe:
        """The part that must agree with the recipe of another variant, or of another version, in the same folder.

        That is everything except the methods, and what only one of the two used or records.
        """
        provenance = {key: value for key, value in self.provenance.items() if key in other.provenance}
        libraries = {key: of for key, of in provenance["libraries"].items() if key in other.provenance["libraries"]}
        if self.name != other.name:
            provenance.pop("probe_sha256", None)
        if self.is_probed != other.is_probed:
            provenance["cpu"] = {"architecture": provenance["cpu"]["architecture"]}
        return Recipe("", {}, self.config, {**provenance, "libraries": libraries})

    def differences(self, other: Recipe) -> list[str]:
        """Where two recipes differ, as `config.size: 224 → 160`; empty if they are equal."""
        return [
            f"{path}: {json.dumps(mine)} → {json.dumps(theirs)}"
            for path, mine, theirs in differences("", asdict(self), asdict(other))
        ]


def differences(path: str, mine: Any, theirs: Any) -> Iterator[tuple[str, Any, Any]]:
    """The places below `path` where two JSON values differ, with both values."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for key in sorted({*mine, *theirs}):
            yield from differences(f"{path}.{key}" if path else key, mine.get(key), theirs.get(key))
    elif isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        for index, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            yield from differences(f"{path}[{index}]", one, other)
    elif mine != theirs:
        yield path, mine, theirs


RECIPE = {
    "name": NAME,
    "variant": {},
    "config": {
        **{"dataset": NAME, "reference": NAME, "samples_per_shard": range(1, 2**63)},
        "source": {"kind": NAME, "samples": COUNT, "sha256": SHA256},
    },
    "provenance": (
        {"libraries": {}, "cpu": {"architecture": str}, "probe_sha256": SHA256},
        {"libraries": {}, "cpu": {"architecture": str}, "code_sha256": SHA256},  # of earlier versions
    ),
}


def expect_recipe(recipe: dict[str, Any]) -> Kind:
    """The kind of a recipe, or of a summary, which has a recipe's fields.

    Raises TypeError for values that must not be read or shown.
    """
    kind = kind_of(recipe["config"]["dataset"])
    expect(recipe["variant"], dict.fromkeys(kind.stages, NAME), "variant")
    expect(recipe["config"], kind.config, "config")
    if recipe["config"].get("split", VALIDATION) not in SPLITS:
        raise TypeError(f"config.split is {reprlib.repr(recipe['config']['split'])}, not one of {', '.join(SPLITS)}")
    if len(recipe["variant"]) > len(kind.stages):
        raise TypeError(f"it has a variant of {len(recipe['variant']):,} stages")
    for name, version in recipe["provenance"]["libraries"].items():
        if not isinstance(version, str) or not f"{name}{version}".isprintable():
            raise TypeError(f"the version of {reprlib.repr(name)} is {reprlib.repr(version)}")
    return kind
