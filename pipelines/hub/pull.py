"""Pulling variants: every tar is compared with its record's sha256 before it is put in place.

A record is written after its tar and the manifests last, as generate.py does, so that what is interrupted is unfinished
and not wrong; the same command goes on with the files that are missing.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from manifests.schema import CARD, SUMMARY, TABLE, TIMM, Record
from pipelines.errors import RunError, UsageError
from pipelines.files import replacing
from pipelines.generate.card import card, read_summaries
from pipelines.hub.client import Repo, quiet
from pipelines.hub.options import PullOptions
from pipelines.hub.published import ContradictionError, Published, choose, fetch_manifests
from pipelines.progress import Advance, counted
from pipelines.store import Disk

# Where a tar lies until it is checked.
_STAGING = ".pull"


def pull(options: PullOptions) -> int:
    """Pull what is missing of the asked variants; the exit status."""
    quiet()
    repo = Repo(options.repo)
    revision = repo.commit(options.revision)
    with tempfile.TemporaryDirectory() as folder:
        names = choose(repo, revision, options.variants)
        found = [fetch_manifests(repo, revision, name, Path(folder)) for name in names]
        root = _put_all(repo, revision, found, options.output)
    print(f"Pulled {', '.join(names)} from {repo.name} at {revision[:8]} to {root}: every tar has its record's sha256.")
    return 0


def _put_all(repo: Repo, revision: str, found: Sequence[Published], output: Path) -> Path:
    """Download what is missing of these variants, which must be of one dataset; the folder that holds them."""
    root = output / found[0].dataset
    for published in found:
        if published.dataset != found[0].dataset:
            raise ContradictionError(f"{repo.name} holds {published.dataset} and {found[0].dataset}: nothing is used")
        if not published.has_pixels:
            raise UsageError(f"{repo.name} has manifests of {published.name}, but no pixels: use hub.py rebuild")
        _check_place(root / published.name, published)
    _download(repo, revision, found, root, output / _STAGING)
    with replacing(root / CARD) as path:
        path.write_bytes(card(root.name, list(read_summaries(Disk(str(root))))))
    return root


def _download(repo: Repo, revision: str, found: Sequence[Published], root: Path, staging: Path) -> None:
    total = sum(int(published.summary["totals"]["bytes"]) for published in found)
    try:
        staging.mkdir(parents=True, exist_ok=True)
        with counted(total, "B", "bytes here and checked") as advance:
            for published in found:
                # Below a folder of its own, so that nothing takes it for a variant.
                _pull(repo, revision, published, root / published.name, staging / revision, advance)
    except OSError as error:
        raise RunError(
            f"cannot write to {root} ({error.strerror or error}): what is whole is kept, and the same command goes on"
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _check_place(folder: Path, published: Published) -> None:
    """Raises UsageError where a folder holds another set of the variant."""
    for theirs in published.folder.iterdir():
        mine = folder / theirs.name
        if mine.is_file() and not filecmp.cmp(mine, theirs, shallow=False):
            raise UsageError(
                f"{folder} holds another set of {published.name} ({mine.name} differs): give another --output"
            )


def _pull(repo: Repo, revision: str, published: Published, folder: Path, staging: Path, advance: Advance) -> None:
    for record in published.records():
        tar = folder / f"{record.name}.tar"
        if not (tar.is_file() and tar.stat().st_size == record.tar_bytes and _sha256(tar) == record.tar_sha256):
            _fetch(repo, revision, published.name, record, tar, staging)
        _put(folder, f"{record.name}.json", published)
        advance(published.name, record.tar_bytes)
    for file in (TABLE, TIMM, SUMMARY):
        _put(folder, file, published)


def _fetch(repo: Repo, revision: str, name: str, record: Record, tar: Path, staging: Path) -> None:
    """Download one tar, and put it in place if it is what its record says."""
    fetched = repo.fetch(f"{name}/{tar.name}", revision, staging)
    if _sha256(fetched) != record.tar_sha256:
        fetched.unlink()
        raise ContradictionError(
            f"{repo.name}: {name}/{tar.name} does not have the sha256 of its record: refused, and what agrees is kept"
        )
    tar.parent.mkdir(parents=True, exist_ok=True)
    os.replace(fetched, tar)


def _put(folder: Path, file: str, published: Published) -> None:
    if not (folder / file).is_file():
        with replacing(folder / file) as path:
            shutil.copyfile(published.folder / file, path)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
