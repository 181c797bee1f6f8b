"""Pulls variants to a disk or an object store, several tars at a time.

Every tar is compared with its record's sha256 before it is put in place. As in generate.py, a record is written after
its tar, and the manifests last, so that an interrupted pull is unfinished, not wrong; the same command continues with
the missing files. Each worker that pulls to a store has one tar on its disk at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from manifests.schema import CARD, SUMMARY, TABLE, TIMM
from pipelines.datasets import DATASETS
from pipelines.errors import SHARE, RunError, SysNoiseError, UsageError
from pipelines.generate.card import card
from pipelines.generate.croissant import CROISSANT, croissant, parts_in
from pipelines.hub.arriving import arriving
from pipelines.hub.client import MOST_TRANSFERS, Repo, quiet
from pipelines.hub.options import PullOptions
from pipelines.hub.published import ContradictionError, Published, choose, fetch_manifests
from pipelines.options import Cluster
from pipelines.page.write import write_page
from pipelines.progress import counted
from pipelines.store import BLOCK, Disk, Place, place_of
from pipelines.store.files import move, put, put_file
from pipelines.wording import wording
from pipelines.work import Finished, Progress, Work, crew
from pipelines.work.cluster import Ray

# The folder on a disk that tars are in until they are checked.
_STAGING = ".pull"


class Tar(NamedTuple):
    """A tar to pull: its path in the repository, its sha256, size and images from its record, and its destination."""

    path: str
    sha256: str
    size: int
    images: int
    place: Place


@dataclass(frozen=True)
class Fetching:
    """What all tars have in common: the repository at a commit, and the folder that they are pulled to.

    `staging` is a folder on the destination's disk, where a later run continues a killed run's downloads; None if each
    worker has its own, for a store.
    """

    repo: Repo
    revision: str
    root: Place
    staging: Path | None


def pull(options: PullOptions) -> int:
    """Pull the missing files of the requested variants; returns the exit status."""
    quiet()
    output = place_of(options.output, "--output")
    repo = Repo(options.repo)
    revision = repo.commit(options.revision)
    with tempfile.TemporaryDirectory() as folder:
        names = choose(repo, revision, options.variants)
        found = [fetch_manifests(repo, revision, name, Path(folder)) for name in names]
        root = _root(repo, found, output)
        with _staging(root, revision, None if options.cluster.address else Path(folder)) as staging:
            _download(Fetching(repo, revision, root, staging), found, options.cluster)
        parts = list(parts_in(root))
        put(root / CARD, card(root.name, [part.summary for part in parts]))
        put(root / CROISSANT, croissant(root.name, parts))
    write_page(root)
    print(f"Pulled {', '.join(names)} from {repo.name} at {revision[:8]} to {root}: every tar has its record's sha256.")
    return 0


def _root(repo: Repo, found: Sequence[Published], output: Place) -> Place:
    """The folder to pull these variants to; they must belong to one dataset."""
    root = output / found[0].dataset
    for published in found:
        if published.dataset != found[0].dataset:
            raise ContradictionError(f"{repo.name} has {published.dataset} and {found[0].dataset}: nothing is used")
        if not published.has_pixels:
            result = wording(published.dataset).result
            raise UsageError(f"{repo.name} has manifests of {published.name}, but no {result}: use hub.py rebuild")
        _check_place(root / published.name, published)
    return root


@contextlib.contextmanager
def _staging(root: Place, revision: str, here: Path | None) -> Iterator[Path | None]:
    """The folder that tars are in until they are checked; for a store, `here`, if given."""
    if not isinstance(root, Disk):
        yield here
        return
    staging = Path(root.parent.path, _STAGING)  # outside the dataset's folder, where it would look like a variant
    try:
        with _writing(root):
            (staging / revision).mkdir(parents=True, exist_ok=True)
        yield staging / revision
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _check_place(folder: Place, published: Published) -> None:
    """Raises UsageError if the folder contains a different set of the variant."""
    there = folder.files()
    for theirs in published.folder.iterdir():
        name = theirs.name
        if name in there and not (there[name] == theirs.stat().st_size and _same(folder / name, theirs)):
            raise UsageError(
                f"{folder} contains a different set of {published.name} ({name} differs): give another --output"
            )


def _same(place: Place, path: Path) -> bool:
    """Whether two files have the same bytes."""
    with place.open() as one, open(path, "rb") as other:
        while data := one.read(BLOCK):
            if data != other.read(BLOCK):
                return False
        return not other.read(1)


def _download(fetching: Fetching, found: Sequence[Published], cluster: Cluster) -> None:
    """Fetch the missing tars, each followed by its record, and each variant's manifests once it has all its tars."""
    variants = {published.name: _Variant(published, fetching.root / published.name) for published in found}
    tars = [tar for variant in variants.values() for tar in variant.missing]
    for variant in variants.values():
        variant.put_manifests()
    if not tars:
        return
    work = Work(fetch, fetching, lambda tar: tar.path)
    words = DATASETS[found[0].dataset]
    with (
        counted(sum(tar.images for tar in tars), words.unit, f"{words.noun} pulled and checked") as advance,
        contextlib.closing(Ray(cluster)) as ray,
        contextlib.closing(crew.each(work, tars, ray, problem_here, most=MOST_TRANSFERS)) as steps,
    ):
        name = ""
        for step in steps:
            if isinstance(step, Finished):
                name = step.piece.place.parent.name
                variants[name].finish(step.piece)
            advance(name, step.images if isinstance(step, Progress) else 0)


class _Variant:
    """A variant on its way to a folder: its tars that are still missing, and its records and manifests."""

    def __init__(self, published: Published, folder: Place) -> None:
        self._published, self._folder = published, folder
        self._there = folder.files()
        shards = published.summary["shards"]
        self.missing = dict.fromkeys(self._tar(shard) for shard in shards if not self._has(shard))

    def _tar(self, shard: Mapping[str, Any]) -> Tar:
        name = shard["name"]
        return Tar(
            f"{self._published.name}/{name}", shard["sha256"], shard["bytes"], shard["samples"], self._folder / name
        )

    def _has(self, shard: Mapping[str, Any]) -> bool:
        """Whether a store has a tar. It is not downloaded: a record is only written after a tar that agrees with it.

        For a disk this is always False: there the workers read the tars.
        """
        name = shard["name"]
        return (
            not isinstance(self._folder, Disk)
            and self._there.get(name) == shard["bytes"]
            and _record_of(name) in self._there
        )

    def finish(self, tar: Tar) -> None:
        """Add the record of a tar that is now in place, and the manifests after the last tar."""
        self._put(_record_of(tar.place.name))
        del self.missing[tar]
        self.put_manifests()

    def put_manifests(self) -> None:
        """Add the manifests, if no tar is missing."""
        for file in () if self.missing else (TABLE, TIMM, SUMMARY):
            self._put(file)

    def _put(self, file: str) -> None:
        if file not in self._there:
            put_file(self._folder / file, self._published.folder / file)


def fetch(tar: Tar, fetching: Fetching, careful: bool) -> Generator[int, None, None]:
    """A worker's task: as `fetch_tar`, unless the tar is already on the disk."""
    quiet()
    with _writing(tar.place.parent):
        if _is_on_disk(tar):
            yield tar.images
        else:
            yield from fetch_tar(fetching, tar)


def problem_here(fetching: Fetching) -> str | None:
    """Why this machine cannot pull: its token, or the destination as this machine sees it; None if it can."""
    try:
        fetching.repo.commit(fetching.revision)
        if fetching.staging and not fetching.staging.is_dir():
            return f"--output {fetching.root.parent} is not the same folder there: {SHARE}"
        fetching.root.is_dir()
    except SysNoiseError as error:
        return str(error)
    return None


def fetch_tar(fetching: Fetching, tar: Tar) -> Generator[int, None, None]:
    """Download a tar, and put it in place. Yields how many more of its images have arrived.

    Raises ContradictionError if the tar does not have its record's sha256.
    """
    repo, staging = fetching.repo, fetching.staging
    with contextlib.nullcontext(staging) if staging else tempfile.TemporaryDirectory() as folder:
        fetch = partial(repo.fetch, tar.path, fetching.revision, Path(folder))
        fetched = yield from arriving(fetch, tar.size, tar.images)
        if _sha256(fetched) != tar.sha256:
            raise ContradictionError(
                f"{repo.name}: {tar.path} does not have its record's sha256: it is refused, and the others are kept"
            )
        move(fetched, tar.place)


@contextlib.contextmanager
def _writing(folder: Place) -> Iterator[None]:
    """Raises RunError if a disk cannot be written."""
    try:
        yield
    except OSError as error:  # a store's errors are not OSErrors
        where = folder if isinstance(folder, Disk) else tempfile.gettempdir()
        raise RunError(
            f"cannot write to {where} ({error.strerror or error}): whole files are kept, and the same command continues"
        ) from None


def _is_on_disk(tar: Tar) -> bool:
    """Whether a tar is already in place on a disk; a store's missing tars are known (`_Variant.missing`)."""
    place = tar.place
    return isinstance(place, Disk) and os.path.isfile(place.path) and _sha256(Path(place.path)) == tar.sha256


def _record_of(tar: str) -> str:
    return f"{tar.removesuffix('.tar')}.json"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
