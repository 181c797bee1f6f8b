"""Sending variants to the Hub, several large files at a time, with no copy of the set on this machine.

Owns the order and what one commit holds: shards in their order, and with the last of a variant's the manifests and the
removal of what is no longer there. Files are sent by workers, commits are made here. What the repository holds already
is neither read nor sent. Refuses a tar that is no longer what was verified. What is killed goes on: what was sent and
not yet committed is read again, but not sent.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import CommitOperationAdd

from manifests.schema import SUMMARY, TABLE, TIMM
from manifests.untrusted import LARGEST_JSON
from pipelines.errors import RunError, SysNoiseError
from pipelines.generate.datasets import DATASETS
from pipelines.hub.client import MOST_TRANSFERS, Repo, quiet
from pipelines.progress import counted
from pipelines.store import Disk, Place
from pipelines.work import Finished, Progress, Work, crew
from pipelines.work.cluster import Ray

# What one commit adds at most: shards, and bytes of their tars. A run that is killed reads no more than that again.
_MOST_SHARDS, _MOST_BYTES = 32, 2**33
# Bytes that are fetched at a time.
_BLOCK = 2**24


class File(NamedTuple):
    """A large file: where it lies, its path in the repository, the sha256 that it was verified with, if any, and how
    many images it holds.
    """

    place: Place
    path: str
    sha256: str | None = None
    images: int = 0


@dataclass(frozen=True)
class Sending:
    """What all files have in common: the repository, and whose token sends them."""

    repo: Repo
    user: str


@dataclass
class _Part:
    """What one commit adds of a variant: these tars' records and, as they are sent, those tars that are missing."""

    folder: Place
    title: str
    tars: Sequence[File]
    missing: list[File]
    gone: Sequence[str]
    is_last: bool
    sent: dict[str, CommitOperationAdd] = field(default_factory=dict)


def send_variants(
    sending: Sending, folders: Sequence[Place], summaries: Sequence[Mapping[str, Any]], ray: Ray, *, pixels: bool
) -> None:
    """Send verified variants, each with its `manifest.json`; without `pixels`, all of them but the tars."""
    repo = sending.repo
    held = repo.hashes(repo.commit(None))
    parts = deque(
        part
        for folder, summary in zip(folders, summaries, strict=True)
        for part in _parts(folder, summary, held, pixels=pixels)
    )
    of = {file.path: part for part in parts for file in part.missing}
    files = [file for part in parts for file in part.missing]
    _commit(repo, parts)
    if not files:
        return
    work = Work(send, sending, lambda file: file.path)
    words = DATASETS[str(summaries[0]["config"]["dataset"])]
    with (
        counted(sum(file.images for file in files), words.unit, f"{words.noun} sent") as advance,
        contextlib.closing(crew.each(work, files, ray, problem_here, most=MOST_TRANSFERS)) as steps,
    ):
        name = ""
        for step in steps:
            if isinstance(step, Finished):
                part = of[step.piece.path]
                part.sent[step.piece.path] = step.result
                name = part.folder.name
                _commit(repo, parts)
            advance(name, step.images if isinstance(step, Progress) else 0)


def send(file: File, sending: Sending, careful: bool) -> Generator[int, None, CommitOperationAdd]:
    """A worker's part: send one large file; as `send_file`."""
    quiet()
    addition = send_file(sending.repo, file)
    yield file.images
    return addition


def problem_here(sending: Sending) -> str | None:
    """What is wrong with the token of this machine."""
    try:
        user = sending.repo.user()
    except SysNoiseError as error:
        return str(error)
    return None if user == sending.user else f"the token is {user}'s, and {sending.user} pushes: log in as one there"


def send_file(repo: Repo, file: File) -> CommitOperationAdd:
    """Send one large file; what a commit is to add. Raises RunError where it is not what was verified."""
    with _on_disk(file.place) as path:
        addition = CommitOperationAdd(file.path, path)
        if file.sha256 not in (None, addition.upload_info.sha256.hex()):
            raise RunError(f"{file.place} has changed since it was verified: nothing of it is pushed")
        repo.send(addition)
        if addition.path_or_fileobj:  # it is not large to this repository, and goes with the commit
            addition.path_or_fileobj = path.read_bytes()
    return addition


def _parts(
    folder: Place, summary: Mapping[str, Any], held: Mapping[str, str | None], *, pixels: bool
) -> Iterator[_Part]:
    """What is to be committed of a variant, in order, where the repository holds files with these sha256."""
    name = folder.name
    tars = [
        File(folder / shard["name"], f"{name}/{shard['name']}", shard["sha256"], shard["samples"])
        for shard in summary["shards"]
    ]
    kept = {*map(_record_of, tars), *(f"{name}/{file}" for file in (TABLE, TIMM, SUMMARY))}
    kept |= {tar.path for tar in tars} if pixels else set()
    gone = sorted(path for path in held.keys() - kept if path.startswith(f"{name}/"))
    some = list(_together(tars, [shard["bytes"] for shard in summary["shards"]]))
    for number, together in enumerate(some, 1):
        missing = [tar for tar in together if pixels and held.get(tar.path) != tar.sha256]
        is_last = number == len(some)
        of = f" ({number} of {len(some)})" if len(some) > 1 else ""
        yield _Part(folder, f"Add {name}{of}", together, missing, gone if is_last else (), is_last)


def _commit(repo: Repo, parts: deque[_Part]) -> None:
    """Commit the first parts of which nothing is missing any more."""
    while parts and len(parts[0].sent) == len(parts[0].missing):
        part = parts.popleft()
        additions = []
        for tar in part.tars:
            additions += [part.sent[tar.path]] if tar.path in part.sent else []
            additions.append(_small(part.folder, _record_of(tar)))
        if part.is_last:
            name = part.folder.name
            additions.append(send_file(repo, File(part.folder / TABLE, f"{name}/{TABLE}")))
            additions += [_small(part.folder, f"{name}/{file}") for file in (TIMM, SUMMARY)]
        repo.change(additions, part.gone, part.title)


def _together(tars: Sequence[File], sizes: Sequence[int]) -> Iterator[list[File]]:
    """The tars in order, as many together as one commit may hold."""
    together: list[File] = []
    total = 0
    for tar, size in zip(tars, sizes, strict=True):
        if together and (len(together) == _MOST_SHARDS or total + size > _MOST_BYTES):
            yield together
            together, total = [], 0
        together.append(tar)
        total += size
    yield together


def _record_of(tar: File) -> str:
    return f"{tar.path.removesuffix('.tar')}.json"


def _small(folder: Place, path: str) -> CommitOperationAdd:
    return CommitOperationAdd(path, (folder / path.rpartition("/")[2]).read(LARGEST_JSON))


@contextlib.contextmanager
def _on_disk(place: Place) -> Iterator[Path]:
    """A file, or a copy of one in a store, which has no name: it is gone with this process.

    Raises RunError where it is there no more, or where there is no room for it.
    """
    if isinstance(place, Disk):
        if not os.path.isfile(place.path):
            raise _gone(place)
        yield Path(place.path)
        return
    with tempfile.TemporaryFile() as copy:
        try:
            with place.open(_BLOCK) as source:
                shutil.copyfileobj(source, copy, _BLOCK)
            copy.flush()
        except FileNotFoundError:
            raise _gone(place) from None
        except OSError as error:
            raise RunError(
                f"cannot write to {tempfile.gettempdir()} ({error.strerror or error}): what is pushed is kept; make "
                "room, or set TMPDIR, and run the same command again"
            ) from None
        yield Path(f"/proc/self/fd/{copy.fileno()}")


def _gone(place: Place) -> RunError:
    return RunError(f"{place} is there no more: run the same command again")
