"""What a repository publishes: manifests and records, fetched and checked against each other.

Refuses a set whose parts contradict each other, or that is larger than any real one. Records are read one at a time,
however many there are.
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

# The most bytes of a variant's records and manifests: enough for ten million samples.
_LARGEST_SET = 2**33


@dataclass(frozen=True)
class Published:
    """One variant at one commit: its name, the folder of its files without the tars, and what they agree on."""

    name: str
    folder: Path
    recipe: Recipe
    summary: Mapping[str, Any]
    has_pixels: bool

    @property
    def dataset(self) -> str:
        return str(self.recipe.config["dataset"])

    def records(self) -> Iterator[Record]:
        """Its records, in order."""
        names = (Path(shard["name"]).stem for shard in self.summary["shards"])
        return read_records(Disk(str(self.folder)) / f"{name}.json" for name in names)


class ContradictionError(RunError):
    """The published files contradict each other."""

    exit_status = 1


def choose(repo: Repo, revision: str, words: Sequence[str]) -> list[str]:
    """The names of the requested variants in the repository; `all` stands for every one."""
    files = repo.files(revision)
    parts = (path.partition("/") for path in files)
    there = sorted(name for name, _, file in parts if file == SUMMARY and NAME.fullmatch(name))
    if not there:
        raise UsageError(f"{repo.name} has no shards: was it pushed by hub.py?")
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
    """Fetch everything of a variant except its tars. Raises ContradictionError if its parts do not agree."""
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
        # The dataset and the name become folders: neither may be an arbitrary path.
        if first.recipe.name != name or first.recipe.config["dataset"] not in DATASETS:
            raise ManifestError(f"{records[0]} belongs to another variant, or to an unknown dataset")
        has_pixels = _check_tars(sizes, manifest.summary["shards"])
    except ManifestError as error:
        raise ContradictionError(f"{repo.name}: {name}/{error}; nothing of {name} is used") from None
    return Published(name, into / name, first.recipe, manifest.summary, has_pixels)


def _check_names(sizes: Mapping[str, int]) -> list[str]:
    """The names of the records, in order. Raises ManifestError if files are missing, unexpected or too large."""
    records = sorted(filter(is_record, sizes))
    split = records[0].partition("-")[0] if records else VALIDATION
    expected = [f"{shard_name(index, len(records), split)}.json" for index in range(len(records))]
    wanted = [*(expected or [f"{shard_name(0, 1)}.json"]), TABLE, SUMMARY, TIMM]
    if odd := sorted({*records, *wanted} - {*wanted}) or [file for file in wanted if file not in sizes]:
        raise ManifestError(f"{odd[0]} is missing or unexpected")
    if large := [file for file in wanted if file != TABLE and sizes[file] > LARGEST_JSON]:
        raise ManifestError(f"{large[0]} has {sizes[large[0]]:,} bytes")
    if (total := sum(sizes[file] for file in wanted)) > _LARGEST_SET:
        raise ManifestError(f"{SUMMARY} and the other files have {total:,} bytes")
    return records


def _named(places: Iterable[Place]) -> Iterator[Record]:
    """The records in these files. Raises ManifestError if a record's name or recipe is wrong."""
    first: Recipe | None = None
    for place in places:
        record = Record.read(place)
        first = first or record.recipe
        if place.name != f"{record.name}.json" or record.recipe != first:
            raise ManifestError(f"{place.name} does not agree with the rest")
        yield record


def _check_manifests(folder: Place, manifest: Manifest) -> None:
    """Raises ManifestError for a file that disagrees with the records."""
    for file, data in manifest.files.items():
        with contextlib.suppress(ValueError):
            held = (folder / file).read(max(LARGEST_JSON, 2 * len(data)))
            # A different pyarrow writes the same values as different bytes.
            other = manifest.summary["provenance"]["libraries"].get("pyarrow") != pa.__version__
            if held == data or (file == TABLE and other and next(table_differences(held, data), None) is None):
                continue
        raise ManifestError(f"{file} does not agree with the rest")


def _check_tars(sizes: Mapping[str, int], shards: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the tars exist. Raises ManifestError if only some do, or if one does not have its record's size."""
    there = [shard for shard in shards if shard["name"] in sizes]
    for shard in shards if there else ():
        if sizes.get(shard["name"]) != shard["bytes"]:
            raise ManifestError(f"{shard['name']} is missing, or does not have {shard['bytes']:,} bytes")
    return bool(there)
