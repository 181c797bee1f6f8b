"""Pulling variants, to a disk or into an object store: every tar is compared with its record's sha256 before it is put
in place.

A record is written after its tar and the manifests last, as generate.py does, so that what is interrupted is unfinished
and not wrong; the same command goes on with the files that are missing. On the way to a store one tar at a time is on
this machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from manifests.schema import CARD, SUMMARY, TABLE, TIMM, Record
from pipelines.errors import RunError, UsageError
from pipelines.files import move, put, put_file
from pipelines.generate.card import card, read_summaries
from pipelines.hub.client import Repo, quiet
from pipelines.hub.options import PullOptions
from pipelines.hub.published import ContradictionError, Published, choose, fetch_manifests
from pipelines.progress import Advance, counted
from pipelines.store import BLOCK, Disk, Place, place_of

# Where on a disk a tar lies until it is checked.
_STAGING = ".pull"


class Tar(NamedTuple):
    """A tar that is to be pulled: its path in the repository, the sha256 of its record, and where it is to be."""

    path: str
    sha256: str
    place: Place


def pull(options: PullOptions) -> int:
    """Pull what is missing of the asked variants; the exit status."""
    quiet()
    output = place_of(options.output, "--output")
    repo = Repo(options.repo)
    revision = repo.commit(options.revision)
    with tempfile.TemporaryDirectory() as folder:
        names = choose(repo, revision, options.variants)
        found = [fetch_manifests(repo, revision, name, Path(folder)) for name in names]
        root = _put_all(repo, revision, found, output)
    print(f"Pulled {', '.join(names)} from {repo.name} at {revision[:8]} to {root}: every tar has its record's sha256.")
    return 0


def _put_all(repo: Repo, revision: str, found: Sequence[Published], output: Place) -> Place:
    """Download what is missing of these variants, which must be of one dataset; the folder that holds them."""
    root = output / found[0].dataset
    for published in found:
        if published.dataset != found[0].dataset:
            raise ContradictionError(f"{repo.name} holds {published.dataset} and {found[0].dataset}: nothing is used")
        if not published.has_pixels:
            raise UsageError(f"{repo.name} has manifests of {published.name}, but no pixels: use hub.py rebuild")
        _check_place(root / published.name, published)
    _download(repo, revision, found, root)
    put(root / CARD, card(root.name, list(read_summaries(root))))
    return root


def _download(repo: Repo, revision: str, found: Sequence[Published], root: Place) -> None:
    total = sum(int(published.summary["totals"]["bytes"]) for published in found)
    # On a disk below a folder of its own, so that nothing takes it for a variant.
    staging = Path(root.parent.path, _STAGING) if isinstance(root, Disk) else None
    kept = staging / revision if staging else None
    try:
        if kept:
            kept.mkdir(parents=True, exist_ok=True)
        with counted(total, "B", "bytes here and checked") as advance:
            for published in found:
                _pull(repo, revision, published, root / published.name, kept, advance)
    except OSError as error:  # a store's own errors are others
        raise RunError(
            f"cannot write to {root if staging else tempfile.gettempdir()} ({error.strerror or error}): what is whole "
            "is kept, and the same command goes on"
        ) from None
    finally:
        if staging:
            shutil.rmtree(staging, ignore_errors=True)


def _check_place(folder: Place, published: Published) -> None:
    """Raises UsageError where a folder holds another set of the variant."""
    there = folder.files()
    for theirs in published.folder.iterdir():
        name = theirs.name
        if name in there and not (there[name] == theirs.stat().st_size and _same(folder / name, theirs)):
            raise UsageError(f"{folder} holds another set of {published.name} ({name} differs): give another --output")


def _same(place: Place, path: Path) -> bool:
    """Whether two files have the same bytes."""
    with place.open() as one, open(path, "rb") as other:
        while data := one.read(BLOCK):
            if data != other.read(BLOCK):
                return False
        return not other.read(1)


def _pull(
    repo: Repo, revision: str, published: Published, folder: Place, staging: Path | None, advance: Advance
) -> None:
    there = folder.files()
    for record in published.records():
        tar = Tar(f"{published.name}/{record.name}.tar", record.tar_sha256, folder / f"{record.name}.tar")
        if not _is_here(record, tar, there):
            fetch_tar(repo, revision, tar, staging)
        _put(folder, f"{record.name}.json", published, there)
        advance(published.name, record.tar_bytes)
    for file in (TABLE, TIMM, SUMMARY):
        _put(folder, file, published, there)


def _is_here(record: Record, tar: Tar, there: Mapping[str, int]) -> bool:
    """Whether a tar is in place: on a disk by its sha256; in a store, where to read it is to fetch it, by its record,
    which is there only after a tar that agrees with it.
    """
    if there.get(tar.place.name) != record.tar_bytes:
        return False
    if isinstance(tar.place, Disk):
        return _sha256(Path(tar.place.path)) == tar.sha256
    return f"{record.name}.json" in there


def fetch_tar(repo: Repo, revision: str, tar: Tar, staging: Path | None) -> None:
    """Download one tar, and put it in place if it is what its record says. Raises ContradictionError if it is not.

    `staging` is a folder on the disk that the tar is to be on, where a killed run's part is gone on with; None for a
    store. For any process that can log in to the Hub and the store: what it takes can be sent to one.
    """
    with contextlib.nullcontext(staging) if staging else tempfile.TemporaryDirectory() as folder:
        fetched = repo.fetch(tar.path, revision, Path(folder))
        if _sha256(fetched) != tar.sha256:
            raise ContradictionError(
                f"{repo.name}: {tar.path} does not have the sha256 of its record: refused, and what agrees is kept"
            )
        move(fetched, tar.place)


def _put(folder: Place, file: str, published: Published, there: Mapping[str, int]) -> None:
    if file not in there:
        put_file(folder / file, published.folder / file)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
