"""The names of a set's files, and the error about their content."""

from __future__ import annotations

TABLE = "manifest.parquet"
SUMMARY = "manifest.json"
TIMM = "_info.json"
CARD = "README.md"
# How the card, which is written elsewhere, lists a variant: a JSON string follows.
CARD_ENTRY = "- config_name: "
# A hundred million samples at a thousand a shard: a longer list is not taken to be honest.
MOST_SHARDS = 100_000


class ManifestError(ValueError):
    """A manifest or record cannot be read as one; the message names the file."""
