"""Summaries, `manifest.json`: one for each variant."""

from __future__ import annotations

from typing import Any

from manifests.canonical import digest
from manifests.schema.names import MOST_SHARDS, ManifestError
from manifests.schema.recipe import RECIPE, expect_recipe
from manifests.shape import COUNT, SHA256, expect
from manifests.splits import shard_name, split_of
from manifests.untrusted import parse_description

_SHARD = {
    **{"name": str, "bytes": COUNT, "samples": COUNT, "failed": COUNT},
    **{"sha256": SHA256, "record_sha256": SHA256},
}
_SUMMARY = {
    **{**RECIPE, "config_sha256": SHA256},
    **{"shards": [_SHARD], "totals": {"samples": COUNT, "failed": COUNT, "bytes": COUNT}, "residual": {}},
}


def parse_summary(data: bytes, source: str) -> dict[str, Any]:
    """Parse a `manifest.json`. Raises ManifestError, which names it as `source`, if it is damaged."""
    try:
        found: dict[str, Any] = parse_description(data)
        expect(found, _SUMMARY, "it")
        kind = expect_recipe(found)
        expect(found, {**kind.about_shape, kind.digest_of_all: SHA256, "residual": kind.summary}, "it")
        shards, totals, residual = found["shards"], found["totals"], found["residual"]
        if not 1 <= len(shards) <= MOST_SHARDS:
            raise ValueError(f"it lists {len(shards):,} shards")
        split = split_of(found["config"])
        names = [f"{shard_name(index, len(shards), split)}.tar" for index in range(len(shards))]
        if [shard["name"] for shard in shards] != names:
            raise ValueError("its shards are not listed by their names")
        figures = [residual[name] is not None for name in kind.summary if name != "compared"]
        agree = all(figures) if residual["compared"] else not any(figures)
        agree &= all(sum(shard[name] for shard in shards) == total for name, total in totals.items())
        if not agree or digest(found["config"]) != found["config_sha256"]:
            raise ValueError("its parts contradict one another")
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{source} is not a whole manifest: {error}") from None
    return found
