"""A variant as it is published: its manifest and records, fetched and checked against one another.

Refuses a set whose parts contradict one another.
"""

from __future__ import annotations

import difflib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.derive import Manifest, derive
from manifests.schema import SPLIT, SUMMARY, TABLE, TIMM, ManifestError, Record, shard_name
from pipelines.errors import RunError, UsageError
from pipelines.generate.datasets import DATASETS
from pipelines.hub.client import Repo

# A variant's name: tokens joined by +.
_NAME = r"[A-Za-z0-9_+]+"


@dataclass(frozen=True)
class Published:
    """One variant at one commit: its name, its records in order, and its files by name, tars aside."""

    name: str
    records: Sequence[Record]
    files: dict[str, bytes]
    has_pixels: bool

    @property
    def dataset(self) -> str:
        return str(self.records[0].recipe.config["dataset"])


class ContradictionError(RunError):
    """What is published does not agree with itself."""

    exit_status = 1


def choose(repo: Repo, revision: str, words: Sequence[str]) -> list[str]:
    """The names of the asked variants in the repository; `all` stands for every one."""
    files = repo.files(revision)
    names_of = (re.fullmatch(rf"({_NAME})/{re.escape(SUMMARY)}", path) for path in files)
    there = sorted(found[1] for found in names_of if found)
    if not there:
        raise UsageError(f"{repo.name} holds no shards: is it a repository that hub.py pushed?")
    names = [name for word in words for name in word.split(",")]
    if "all" in names:
        return there
    for name in names:
        if name not in there:
            near = difflib.get_close_matches(name, there, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(there)}"
            raise UsageError(f"{repo.name} has no variant {name!r}: {hint}")
    return list(dict.fromkeys(names))


def fetch_manifests(repo: Repo, revision: str, name: str, into: Path) -> Published:
    """Everything of a variant but its tars. Raises ContradictionError where its parts do not agree."""
    listed = [path for path in repo.files(revision) if path.startswith(f"{name}/") and path.count("/") == 1]
    wanted = [path for path in listed if Path(path).suffix == ".json" or Path(path).name == TABLE]
    files = {Path(path).name: repo.fetch(path, revision, into).read_bytes() for path in wanted}
    try:
        records = [
            Record.from_bytes(data, f"{name}/{file}") for file, data in sorted(files.items()) if file.startswith(SPLIT)
        ]
        manifest = derive(records)
    except ManifestError as error:
        raise ContradictionError(f"{repo.name}: {error}; nothing of it is used") from None
    if wrong := _contradiction(name, records, manifest, files):
        raise ContradictionError(f"{repo.name}: {name}/{wrong} does not agree with the rest; nothing of it is used")
    tars = {f"{name}/{record.name}.tar" for record in records}
    lacking = sorted(tars - set(listed))
    if lacking and len(lacking) < len(tars):
        raise ContradictionError(f"{repo.name}: {lacking[0]} is missing; nothing of {name} is used")
    return Published(name, records, files, not lacking)


def _contradiction(name: str, records: Sequence[Record], manifest: Manifest, files: dict[str, bytes]) -> str | None:
    """The file that is not what the others say; None where all agree."""
    recipe = records[0].recipe
    # The dataset and the name become folders.
    if recipe.name != name or recipe.config["dataset"] not in DATASETS:
        return f"{records[0].name}.json"
    expected = {f"{shard_name(index, records[0].shards)}.json" for index in range(records[0].shards)}
    held = {file for file in files if file.startswith(SPLIT)}
    if odd := sorted(expected ^ held):
        return odd[0]
    for shard, record in zip(_shards(files), records, strict=False):
        if isinstance(shard, dict) and shard.get("record_sha256") != record.sha256:
            return f"{record.name}.json"
    for file in (SUMMARY, TIMM):
        if files.get(file) != manifest.files[file]:
            return file
    # Another pyarrow writes the same values in other bytes.
    return None if _same_table(files.get(TABLE, b""), manifest.table) else TABLE


def _shards(files: dict[str, bytes]) -> list[Any]:
    try:
        found: list[Any] = json.loads(files[SUMMARY])["shards"]
    except (KeyError, ValueError, TypeError):
        return []
    return found if isinstance(found, list) else []


def _same_table(held: bytes, derived: bytes) -> bool:
    try:
        return bool(pq.read_table(io.BytesIO(held)).equals(pq.read_table(io.BytesIO(derived))))
    except (pa.ArrowException, OSError):
        return False
