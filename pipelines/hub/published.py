"""What a repository publishes: manifests and records, fetched and checked against one another.

Refuses a set whose parts contradict one another, or that is larger than any that is made. Its records are read one at
a time, however many they are.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from manifests.derive import Manifest, derive, read_records, table_differences
from manifests.schema import SUMMARY, TABLE, TIMM, ManifestError, Recipe, Record
from manifests.shape import NAME
from manifests.splits import VALIDATION, is_record, shard_name
from manifests.untrusted import LARGEST_JSON
from pipelines.errors import RunError, UsageError
from pipelines.generate.datasets import DATASETS
from pipelines.hub.client import Repo
from pipelines.store import Disk, Place

# Bytes of a variant's records and manifests: those of ten million samples.
_LARGEST_SET = 2**33


@dataclass(frozen=True)
class Published:
    """One variant at one commit: its name, the folder that holds its files (tars aside), and what they agree on."""

    name: str
    folder: Path
    recipe: Recipe
    summary: Mapping[str, Any]
    has_pixels: bool

    @property
    def dataset(self) -> str:
        return str(self.recipe.config["dataset"])

    def records(self) -> Iterator[Record]:
        """Its records in order."""
        names = (Path(shard["name"]).stem for shard in self.summary["shards"])
        return read_records(Disk(str(self.folder)) / f"{name}.json" for name in names)


class ContradictionError(RunError):
    """What is published does not agree with itself."""

    exit_status = 1


def choose(repo: Repo, revision: str, words: Sequence[str]) -> list[str]:
    """The names of the asked variants in the repository; `all` stands for every one."""
    files = repo.files(revision)
    parts = (path.partition("/") for path in files)
    there = sorted(name for name, _, file in parts if file == SUMMARY and NAME.fullmatch(name))
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
    sizes = {
        file: size for path, size in repo.files(revision).items() if (file := path.removeprefix(f"{name}/")) != path
    }
    try:
        records = _check_names(sizes)
        for file in (*records, TABLE, SUMMARY, TIMM):
            repo.fetch(f"{name}/{file}", revision, into)
        folder = Disk(str(into)) / name
        manifest = derive(_named(folder / file for file in records))
        _check_manifests(folder, manifest)
        first = Record.read(folder / records[0])
        # The dataset and the name become folders.
        if first.recipe.name != name or first.recipe.config["dataset"] not in DATASETS:
            raise ManifestError(f"{records[0]} is of another variant, or of a dataset that is not known")
        has_pixels = _check_tars(sizes, manifest.summary["shards"])
    except ManifestError as error:
        raise ContradictionError(f"{repo.name}: {name}/{error}; nothing of {name} is used") from None
    return Published(name, into / name, first.recipe, manifest.summary, has_pixels)


def _check_names(sizes: Mapping[str, int]) -> list[str]:
    """The names of the records, in order. Raises ManifestError where files are missing, odd or too large."""
    records = sorted(filter(is_record, sizes))
    split = records[0].partition("-")[0] if records else VALIDATION
    expected = [f"{shard_name(index, len(records), split)}.json" for index in range(len(records))]
    wanted = [*(expected or [f"{shard_name(0, 1)}.json"]), TABLE, SUMMARY, TIMM]
    if odd := sorted({*records, *wanted} - {*wanted}) or [file for file in wanted if file not in sizes]:
        raise ManifestError(f"{odd[0]} is missing, or is one too many")
    if large := [file for file in wanted if file != TABLE and sizes[file] > LARGEST_JSON]:
        raise ManifestError(f"{large[0]} has {sizes[large[0]]:,} bytes")
    if (total := sum(sizes[file] for file in wanted)) > _LARGEST_SET:
        raise ManifestError(f"{SUMMARY} and the rest have {total:,} bytes")
    return records


def _named(places: Iterable[Place]) -> Iterator[Record]:
    """The records in these files. Raises ManifestError where one has another's name or recipe."""
    first: Recipe | None = None
    for place in places:
        record = Record.read(place)
        first = first or record.recipe
        if place.name != f"{record.name}.json" or record.recipe != first:
            raise ManifestError(f"{place.name} does not agree with the rest")
        yield record


def _check_manifests(folder: Place, manifest: Manifest) -> None:
    """Raises ManifestError for the file that is not what the records say."""
    for file, data in manifest.files.items():
        with contextlib.suppress(ValueError):
            held = (folder / file).read(max(LARGEST_JSON, 2 * len(data)))
            # Another pyarrow writes the same values in other bytes.
            other = manifest.summary["provenance"]["libraries"].get("pyarrow") != pa.__version__
            if held == data or (file == TABLE and other and next(table_differences(held, data), None) is None):
                continue
        raise ManifestError(f"{file} does not agree with the rest")


def _check_tars(sizes: Mapping[str, int], shards: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the tars are there. Raises ManifestError where only some are, or one has not its record's size."""
    there = [shard for shard in shards if shard["name"] in sizes]
    for shard in shards if there else ():
        if sizes.get(shard["name"]) != shard["bytes"]:
            raise ManifestError(f"{shard['name']} is missing, or has other than {shard['bytes']:,} bytes")
    return bool(there)
