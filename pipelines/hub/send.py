"""Sends variants to the Hub, several large files at a time, without a copy of the set on this machine.

Owns the order, and the contents of each commit: shards in their order, and with a variant's last shard its manifests
and the removal of files that no longer exist. Workers send files; commits are made here. Files that the repository
already has are neither read nor sent. Refuses a tar that has changed since it was verified. After a killed run the same
command continues: what was sent but not committed is read again, but not sent again.
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

# The most that one commit adds: shards, and bytes of their tars. After a killed run, no more than that is read again.
_MOST_SHARDS, _MOST_BYTES = 32, 2**33
# Bytes fetched at a time.
_BLOCK = 2**24


class File(NamedTuple):
    """A large file: its place, its path in the repository, its verified sha256, if any, and its number of images."""

    place: Place
    path: str
    sha256: str | None = None
    images: int = 0


@dataclass(frozen=True)
class Sending:
    """What all files have in common: the repository, and the user whose token sends them."""

    repo: Repo
    user: str


@dataclass
class _Part:
    """What one commit adds to a variant: the records of these tars, and the missing tars once they are sent."""

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
    """Send verified variants, whose `manifest.json` are the summaries; without `pixels`, everything except the tars."""
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
    """A worker's task: `send_file`, with progress."""
    quiet()
    addition = send_file(sending.repo, file)
    yield file.images
    return addition


def problem_here(sending: Sending) -> str | None:
    """What is wrong with this machine's token; None if nothing is."""
    try:
        user = sending.repo.user()
    except SysNoiseError as error:
        return str(error)
    if user == sending.user:
        return None
    return f"the token is {user}'s, but {sending.user} is pushing: log in as the same user there"


def send_file(repo: Repo, file: File) -> CommitOperationAdd:
    """Send one large file; returns what a commit must add. Raises RunError if it has changed since verification."""
    with _on_disk(file.place) as path:
        addition = CommitOperationAdd(file.path, path)
        if file.sha256 not in (None, addition.upload_info.sha256.hex()):
            raise RunError(f"{file.place} has changed since it was verified: it is not pushed")
        repo.send(addition)
        if addition.path_or_fileobj:  # small by this repository's rules: it is sent with the commit
            addition.path_or_fileobj = path.read_bytes()
    return addition


def _parts(
    folder: Place, summary: Mapping[str, Any], held: Mapping[str, str | None], *, pixels: bool
) -> Iterator[_Part]:
    """What to commit for a variant, in order; `held` has the sha256 of the repository's files, by path."""
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
    """Commit the parts at the front of the queue that are complete."""
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
    """The tars in order, in groups that fit one commit."""
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
    """A path to the file: its own on a disk, or that of an unnamed copy, which disappears with this process.

    Raises RunError if the file no longer exists, or there is no room for a copy.
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
                f"cannot write to {tempfile.gettempdir()} ({error.strerror or error}): pushed files are kept; make "
                "room, or set TMPDIR, and run the same command again"
            ) from None
        yield Path(f"/proc/self/fd/{copy.fileno()}")


def _gone(place: Place) -> RunError:
    return RunError(f"{place} no longer exists: run the same command again")
