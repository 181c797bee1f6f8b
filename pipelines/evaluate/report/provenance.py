"""What made the shards that a report is on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pipelines.shards import Shards


def provenance(shards: Shards, names: Iterable[str]) -> dict[str, Any]:
    """The digest of the shards' configuration, and the versions of all libraries that made these variants."""
    versions: dict[str, str] = {}
    for name in names:
        versions |= shards.variants[name].summary["provenance"]["libraries"]
    return {
        "configuration": shards.reference.summary["config_sha256"],
        "libraries": sorted(versions.items(), key=lambda item: item[0].lower()),
    }
