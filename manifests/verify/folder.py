"""Checks of variants' folders without their tars: cards, records, and the manifests derived from them."""

from __future__ import annotations

import itertools
import json
import reprlib
from collections.abc import Collection, Iterator, Sequence

import pyarrow as pa

from manifests.derive import derive, read_records, table_differences
from manifests.litter import is_litter
from manifests.place import P, Place
from manifests.schema import (
    CARD,
    CARD_ENTRY,
    SUMMARY,
    TABLE,
    TIMM,
    ManifestError,
    Record,
    differences,
)
from manifests.shape import NAME
from manifests.splits import is_of_shard, is_record, shard_name
from manifests.untrusted import LARGEST_JSON, parse_description
from manifests.verify.problem import Problem

# Bytes of a card: enough for thousands of variants.
_LARGEST_CARD = 2**24
# How many differences of one file are reported, and characters of each value.
_MOST_DIFFERENCES, _SHOWN = 1000, 200
# An output has datasets, and a dataset has variants.
_LEVELS = 3


def variant_folders(place: P) -> list[P]:
    """The variants' folders at `place`, which is one itself, a dataset's folder, or an output folder."""
    level = [place]
    for _ in range(_LEVELS):
        found = [folder for folder in level if any(map(_is_variants, folder.files()))]
        if found:
            return found
        level = [folder / name for folder in level for name in folder.folders()]
    return []


def _is_variants(name: str) -> bool:
    """Whether a file with this name makes its folder a variant's."""
    return is_of_shard(name) or name in (SUMMARY, TABLE, TIMM)


def records_in(folder: P) -> list[P]:
    """The files named like a variant's records, in order."""
    return [folder / name for name in folder.files() if is_record(name)]


def check_card(root: Place) -> Iterator[Problem]:
    """Check that every variant listed in a dataset's card has a folder with shards."""
    card = root / CARD
    try:
        lines = card.read(_LARGEST_CARD).splitlines()
        entry = CARD_ENTRY.encode()
        names = [parse_description(line.removeprefix(entry)) for line in lines if line.startswith(entry)]
        if odd := [name for name in names if not isinstance(name, str) or not NAME.fullmatch(name)]:
            raise ValueError(f"{reprlib.repr(odd[0])} is not a variant's name")
    except FileNotFoundError:
        return
    except (ValueError, OSError) as error:
        yield Problem(str(card), f"is damaged ({error}); the same generate.py command writes it again")
        return
    existing = set(root.folders())
    for name in names:
        if name not in existing or not any(map(is_of_shard, (root / name).files())):
            yield Problem(str(root / name), f"missing variant: {CARD} lists it, but it has no shards")


def records_of(folder: P) -> tuple[list[P], list[Problem]]:
    """The readable records of a variant, and the problems of the others."""
    good, problems = [], []
    for place, found in _records(folder):
        if isinstance(found, Problem):
            problems.append(found)
        else:
            good.append(place)
    return good, problems


def _records(folder: P) -> Iterator[tuple[P, Record | Problem]]:
    """A variant's records, one at a time, each read or with the reason why it cannot be."""
    for place in records_in(folder):
        try:
            record = Record.read(place)
            if place.name != f"{record.name}.json":
                raise ManifestError(f"{place.name} is the record of {record.name}")
            yield place, record
        except (ManifestError, OSError) as error:
            yield place, Problem(str(place), str(error))


def check_folder(folder: Place) -> list[Problem]:
    """Everything about a variant that can be checked without opening its tars."""
    return list(_check_folder(folder))


def _check_folder(folder: Place) -> Iterator[Problem]:
    good, damaged, strange = [], [], []
    first: Record | None = None
    for place, found in _records(folder):
        if isinstance(found, Problem):
            damaged.append(found)
            continue
        good.append(place)
        first = first or found
        if other := found.recipe.differences(first.recipe):
            strange.append(Problem(str(place), f"made with another recipe than {good[0].name}: {other[0]}"))
    yield from damaged
    files = folder.files()
    yield from _check_set(folder, first, files)
    yield from strange
    if damaged:
        return
    missing = [name for name in (TABLE, SUMMARY, TIMM) if name not in files]
    if missing:
        yield Problem(str(folder), f"unfinished: no {', '.join(missing)}; run the same generate.py command again")
    elif good:
        yield from _check_manifests(folder, good)


def _check_set(folder: P, first: Record | None, files: Collection[str]) -> Iterator[Problem]:
    """Check that all shards that the first record counts exist, and no other files."""
    if not first:
        yield Problem(str(folder), "has no record of any shard")
        return
    expected = {shard_name(index, first.shards, first.recipe.split) for index in range(first.shards)}
    for name in sorted(expected):
        if f"{name}.json" not in files:
            yield Problem(str(folder / f"{name}.json"), "missing shard: it has no record")
        if f"{name}.tar" not in files:
            yield Problem(str(folder / f"{name}.tar"), "missing shard: it has no tar")
    allowed = {f"{name}{suffix}" for name in expected for suffix in (".tar", ".json")} | {TABLE, SUMMARY, TIMM}
    for name in folder.names():
        if name not in allowed and not is_litter(name):
            yield Problem(str(folder / name), "extra file: not part of this variant")


def _check_manifests(folder: P, records: Sequence[P]) -> Iterator[Problem]:
    """Check the three manifest files against those derived from the records."""
    derived = derive(read_records(records))
    for name, data in derived.files.items():
        path = folder / name
        try:
            held = path.read(max(LARGEST_JSON, 2 * len(data)))
            if held == data:
                continue
            differing = (_compare_tables if name == TABLE else _compare_json)(path, held, data)
            found = list(itertools.islice(differing, _MOST_DIFFERENCES))
        except (ValueError, OSError) as error:
            yield Problem(str(path), f"is not {'Parquet' if name == TABLE else 'JSON'} ({str(error).splitlines()[0]})")
            continue
        yield from found
        # Another pyarrow writes the same values as different bytes.
        alike = name != TABLE or derived.summary["provenance"]["libraries"].get("pyarrow") == pa.__version__
        if not found and alike:
            yield Problem(str(path), "was rewritten: same values, different bytes")


def _compare_json(path: Place, held: bytes, derived: bytes) -> Iterator[Problem]:
    for field, mine, theirs in differences("", parse_description(held), json.loads(derived)):
        what = f"{field} is {json.dumps(mine)[:_SHOWN]}, but the records say {json.dumps(theirs)[:_SHOWN]}"
        yield Problem(str(path), what)


def _compare_tables(path: Place, held: bytes, derived: bytes) -> Iterator[Problem]:
    for key, what in table_differences(held, derived):
        yield Problem(f"{path}, {key}" if key else str(path), what)
