"""What this machine makes, for tests that write records themselves."""

from __future__ import annotations

from generators.variant import Variant
from manifests.schema import Recipe
from pipelines.generate.config import Config
from pipelines.generate.machines.kinds import made_here


def recipe_here(config: Config, variant: Variant) -> Recipe:
    """Everything that decides a variant's bytes on this machine."""
    return made_here(config, [variant]).recipes[variant.name]
