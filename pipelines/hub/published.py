"""A variant as it is published: its manifest and records, fetched and checked against one another.

Refuses a set whose parts contradict one another.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from manifests.derive import derive
from manifests.schema import SPLIT, SUMMARY, TABLE, TIMM, ManifestError, Record
from pipelines.errors import RunError, UsageError
from pipelines.hub.client import Repo


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
    there = sorted(path.partition("/")[0] for path in files if path.endswith(f"/{SUMMARY}") and path.count("/") == 1)
    if not there:
        raise UsageError(f"{repo.name} holds no shards: is it a repository that hub.py pushed?")
    names = [name for word in words for name in word.split(",")]
    if names == ["all"]:
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
    expected = {**manifest.files, **{f"{record.name}.json": record.to_bytes() for record in records}}
    whole = [record.shard for record in records] == list(range(records[0].shards))
    wrong = next((file for file in (SUMMARY, TIMM) if files.get(file) != expected[file]), None)
    if wrong or set(files) != set(expected) or not whole or records[0].recipe.name != name:
        raise ContradictionError(f"{repo.name}: the records of {name} do not agree with its {wrong or 'files'}")
    tars = {f"{name}/{record.name}.tar" for record in records}
    return Published(name, records, files, tars <= set(listed))
