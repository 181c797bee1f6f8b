"""The splits that a set can be made from, and its shards' file names. Imports nothing: command lines need the names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VALIDATION, TRAIN = "validation", "train"
SPLITS = (VALIDATION, TRAIN)


def split_of(config: Mapping[str, Any]) -> str:
    """The split of a configuration, which names it only if it is not validation."""
    return str(config.get("split", VALIDATION))


def shard_name(index: int, count: int, split: str = VALIDATION) -> str:
    """A shard's file name without its suffix: `validation-00000-of-00050`."""
    return f"{split}-{index:05d}-of-{count:05d}"


def is_of_shard(file: str) -> bool:
    """Whether a file, by its name, is a shard's tar or record, of any split."""
    return file.startswith(tuple(f"{split}-" for split in SPLITS))


def is_record(file: str) -> bool:
    """Whether a file, by its name, is a shard's record."""
    return is_of_shard(file) and file.endswith(".json")
