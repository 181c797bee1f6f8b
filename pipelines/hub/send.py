"""Sending a variant from an object store to the Hub, a file at a time, with no copy of the set on this machine.

Owns the order and what one commit holds: shards in their order, and with the last of them the manifests and the removal
of what is no longer there. What the repository holds already is neither fetched nor sent. Refuses a tar that is no
longer what was verified. What is killed goes on: what was sent and not yet committed is fetched again, but not sent.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import CommitOperationAdd

from manifests.schema import SUMMARY, TABLE, TIMM
from manifests.untrusted import LARGEST_JSON
from pipelines.errors import RunError
from pipelines.hub.client import Repo
from pipelines.progress import Advance
from pipelines.store import Place

# What one commit adds at most: shards, and bytes of their tars. A run that is killed fetches no more than that again.
_MOST_SHARDS, _MOST_BYTES = 32, 2**33
# Bytes that are fetched at a time.
_BLOCK = 2**24


class File(NamedTuple):
    """A large file: where it lies, its path in the repository, and the sha256 that it was verified with, if any."""

    place: Place
    path: str
    sha256: str | None


def send_variant(repo: Repo, folder: Place, summary: Mapping[str, Any], advance: Advance, *, pixels: bool) -> None:
    """Send a verified variant, whose `manifest.json` is `summary`; without `pixels`, all of it but the tars.

    `advance` is told of each shard.
    """
    name = folder.name
    held = {path: sha256 for path, sha256 in repo.hashes(repo.commit(None)).items() if path.startswith(f"{name}/")}
    tars = [File(folder / shard["name"], f"{name}/{shard['name']}", shard["sha256"]) for shard in summary["shards"]]
    kept = {*map(_record_of, tars), *(f"{name}/{file}" for file in (TABLE, TIMM, SUMMARY))}
    kept |= {tar.path for tar in tars} if pixels else set()
    parts = list(_parts(tars, [shard["bytes"] for shard in summary["shards"]]))
    for number, part in enumerate(parts, 1):
        additions = []
        for tar in part:
            if pixels and held.get(tar.path) != tar.sha256:
                additions.append(send_file(repo, tar))
            additions.append(_small(folder, _record_of(tar)))
            advance(name, 1)
        is_last = number == len(parts)
        if is_last:
            additions.append(send_file(repo, File(folder / TABLE, f"{name}/{TABLE}", None)))
            additions += [_small(folder, f"{name}/{file}") for file in (TIMM, SUMMARY)]
        of = f" ({number} of {len(parts)})" if len(parts) > 1 else ""
        repo.change(additions, sorted(held.keys() - kept) if is_last else [], f"Add {name}{of}")


def send_file(repo: Repo, file: File) -> CommitOperationAdd:
    """Send one large file; what a commit is to add. Raises RunError where it is not what was verified.

    For any process that can log in to the store and the Hub: what it takes and gives can be sent to one.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = _fetch(file.place, Path(folder))
        addition = CommitOperationAdd(file.path, path)
        if file.sha256 not in (None, addition.upload_info.sha256.hex()):
            raise RunError(f"{file.place} has changed since it was verified: nothing of it is pushed")
        repo.send(addition)
        if addition.path_or_fileobj:  # it is not large to this repository, and goes with the commit
            addition.path_or_fileobj = path.read_bytes()
    return addition


def _parts(tars: Sequence[File], sizes: Sequence[int]) -> Iterator[list[File]]:
    """The tars in order, as many together as one commit may hold."""
    part: list[File] = []
    total = 0
    for tar, size in zip(tars, sizes, strict=True):
        if part and (len(part) == _MOST_SHARDS or total + size > _MOST_BYTES):
            yield part
            part, total = [], 0
        part.append(tar)
        total += size
    yield part


def _record_of(tar: File) -> str:
    return f"{tar.path.removesuffix('.tar')}.json"


def _small(folder: Place, path: str) -> CommitOperationAdd:
    return CommitOperationAdd(path, (folder / path.rpartition("/")[2]).read(LARGEST_JSON))


def _fetch(place: Place, folder: Path) -> Path:
    """A copy of a file. Raises RunError where it is there no more, or where there is no room for it."""
    path = folder / place.name
    try:
        with place.open(_BLOCK) as source, open(path, "wb") as copy:
            shutil.copyfileobj(source, copy, _BLOCK)
    except FileNotFoundError:
        raise RunError(f"{place} is there no more: run the same command again") from None
    except OSError as error:
        raise RunError(
            f"cannot write to {folder.parent} ({error.strerror or error}): what is pushed is kept; make room, or set "
            "TMPDIR, and run the same command again"
        ) from None
    return path
