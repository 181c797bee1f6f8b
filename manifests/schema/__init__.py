"""The files that describe shards: a record for each shard, and a manifest for each variant.

Owns their names and columns, and the bytes of a *record*: JSON next to its tar, written last, so that its presence
means that the shard is whole. It carries the shard's rows and the full configuration and provenance. The *manifests*
(`manifest.json`, `manifest.parquet`, `_info.json`) are derived from records. Nothing here depends on the time, the host
or the number of workers.

Files may come from anyone. One is accepted as a record or summary only if every field has its type, every name that
becomes a file name stays inside the folder, and the parts agree with one another.
"""

from manifests.schema.names import CARD, CARD_ENTRY, MOST_SHARDS, SUMMARY, TABLE, TIMM, ManifestError
from manifests.schema.recipe import Recipe, differences
from manifests.schema.record import Columns, Record
from manifests.schema.summary import parse_summary

__all__ = [
    "CARD",
    "CARD_ENTRY",
    "MOST_SHARDS",
    "SUMMARY",
    "TABLE",
    "TIMM",
    "Columns",
    "ManifestError",
    "Recipe",
    "Record",
    "differences",
    "parse_summary",
]
