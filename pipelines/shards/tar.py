"""Samples read from a variant's tars, in order, fetching little more than what is wanted."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from manifests.schema import TABLE
from manifests.untrusted import Tar
from pipelines.errors import RunError
from pipelines.shards.variant import FinishedVariant
from pipelines.store import BLOCK
from pipelines.text import first_line

# Bytes that a store sends about as fast as it answers one request: a smaller sample is read, not skipped.
_WORTH_A_REQUEST = 2**20
# Bytes fetched at a time when samples are skipped: the headers between two images are far smaller.
_HEADERS = 2**16


class Stored(NamedTuple):
    """One sample in a tar: its key, and its members by extension (`png`, `cls`, `json`, `seg.png`)."""

    key: str
    members: Mapping[str, bytes]


def read_samples(
    variant: FinishedVariant, extensions: Collection[str], wanted: Collection[str] | None = None
) -> Iterator[Stored]:
    """A variant's samples from all its shards, or those with the `wanted` keys, with their members of these extensions.

    Raises RunError if a tar is missing, damaged or contradicts its manifest.
    """
    for shard, keys in _shards_with(variant, wanted):
        yield from _read(variant, shard, extensions, keys)


def read_places(variant: FinishedVariant, number: int, extensions: Collection[str], places: range) -> Iterator[Stored]:
    """The samples at these places of one of a variant's shards, in order. Raises RunError as `read_samples` does."""
    shard = variant.summary["shards"][number]
    left = len(places)
    for stored in _read(variant, shard, extensions, places):
        left -= 1
        yield stored
    if left:
        path = variant.folder / str(shard["name"])
        raise RunError(f"{path} does not have its {shard['samples']:,} samples: run verify.py")


def _shards_with(
    variant: FinishedVariant, wanted: Collection[str] | None
) -> Iterator[tuple[Mapping[str, Any], set[str] | None]]:
    """The shards that have any of the wanted samples, each with the keys of those; None stands for all samples."""
    shards: Sequence[Mapping[str, Any]] = variant.summary["shards"]
    if wanted is None:
        yield from ((shard, None) for shard in shards)
        return
    table = variant.table("key", "shard")
    chosen = table.filter(pc.is_in(table["key"], pa.array(wanted, pa.string())))
    keys_in: dict[int, set[str]] = {}
    for key, number in zip(chosen["key"].to_pylist(), chosen["shard"].to_pylist(), strict=True):
        keys_in.setdefault(number, set()).add(key)
    for number, keys in keys_in.items():
        if not 0 <= number < len(shards):
            raise RunError(f"{variant.folder / TABLE} names a shard {number}, which does not exist: run verify.py")
        yield shards[number], keys


def _read(
    variant: FinishedVariant,
    shard: Mapping[str, Any],
    extensions: Collection[str],
    wanted: set[str] | range | None,
) -> Iterator[Stored]:
    """The samples of one shard: those with these keys, those at these places, or all for None."""
    path = variant.folder / str(shard["name"])
    try:
        with path.open(_block(shard, len(wanted)) if isinstance(wanted, set) else BLOCK) as file:
            if not isinstance(wanted, set) and file.seek(0, os.SEEK_END) != shard["bytes"]:
                raise RunError(
                    f"{path} does not have the {shard['bytes']:,} bytes that its manifest gives: run verify.py"
                )
            with Tar(file) as tar:
                yield from _samples(tar, extensions, wanted, _starts(str(path), shard["bytes"]))
    except (OSError, EOFError, tarfile.TarError) as error:
        raise RunError(f"{path} cannot be read ({first_line(error)}): run verify.py") from None


def _block(shard: Mapping[str, Any], wanted: int) -> int:
    """Bytes of a tar to fetch at a time when this many of its samples are wanted."""
    samples = int(shard["samples"])
    skips = 2 * wanted < samples and shard["bytes"] >= samples * _WORTH_A_REQUEST
    return _HEADERS if skips else BLOCK


@lru_cache(maxsize=4)
def _starts(tar: str, size: int) -> list[int]:
    """The offsets of a tar's samples, in order, as far as this process has read it: a list that grows."""
    return []


def _samples(
    tar: Tar, extensions: Collection[str], wanted: set[str] | range | None, starts: list[int]
) -> Iterator[Stored]:
    """A tar's samples, filtered by key or by place; reading stops after the last of them.

    The offsets of samples are appended to `starts`, so that a later call can skip straight to its first place.
    """
    key, members, place, taken = "", dict[str, bytes](), -1, False
    left = -1 if wanted is None else len(wanted)
    if isinstance(wanted, range) and starts:
        place = min(wanted.start, len(starts) - 1)
        tar.skip_to(starts[place])
        place -= 1
    for member in tar:
        own, _, extension = member.name.partition(".")
        if own != key:
            if members:
                yield Stored(key, members)
            left -= taken
            if not left:
                return
            key, members, place = own, {}, place + 1
            taken = wanted is None or (place if isinstance(wanted, range) else own) in wanted
            if place == len(starts) and not tar.pax_headers:  # a skip would pass over global headers
                starts.append(member.offset)
        if taken and extension in extensions:
            members[extension] = tar.content(member)
    if members:
        yield Stored(key, members)
