"""Pulling variants, to a disk or into an object store, several tars at a time: every tar is compared with its record's
sha256 before it is put in place.

A record is written after its tar and the manifests last, as generate.py does, so that what is interrupted is unfinished
and not wrong; the same command goes on with the files that are missing. On the way to a store each worker has one tar
on its disk.
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
from pipelines.errors import SHARE, RunError, SysNoiseError, UsageError
from pipelines.files import move, put, put_file
from pipelines.generate.card import card
from pipelines.generate.croissant import CROISSANT, croissant, parts_in
from pipelines.generate.datasets import DATASETS
from pipelines.generate.told import told
from pipelines.hub.arriving import arriving
from pipelines.hub.client import MOST_TRANSFERS, Repo, quiet
from pipelines.hub.options import PullOptions
from pipelines.hub.published import ContradictionError, Published, choose, fetch_manifests
from pipelines.options import Cluster
from pipelines.progress import counted
from pipelines.store import BLOCK, Disk, Place, place_of
from pipelines.work import Finished, Progress, Work, crew
from pipelines.work.cluster import Ray

# Where on a disk a tar lies until it is checked.
_STAGING = ".pull"


class Tar(NamedTuple):
    """A tar that is to be pulled: its path in the repository, what its record says of it, and where it is to be."""

    path: str
    sha256: str
    size: int
    images: int
    place: Place


@dataclass(frozen=True)
class Fetching:
    """What all tars have in common: the repository at a commit, and the folder that they come to.

    `staging` is a folder on the disk that the tars are to be on, where a killed run's part is gone on with; None where
    each worker has one of its own, for a store.
    """

    repo: Repo
    revision: str
    root: Place
    staging: Path | None


def pull(options: PullOptions) -> int:
    """Pull what is missing of the asked variants; the exit status."""
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
    print(f"Pulled {', '.join(names)} from {repo.name} at {revision[:8]} to {root}: every tar has its record's sha256.")
    return 0


def _root(repo: Repo, found: Sequence[Published], output: Place) -> Place:
    """The folder that is to hold these variants, which must be of one dataset."""
    root = output / found[0].dataset
    for published in found:
        if published.dataset != found[0].dataset:
            raise ContradictionError(f"{repo.name} holds {published.dataset} and {found[0].dataset}: nothing is used")
        if not published.has_pixels:
            result = told(published.dataset).result
            raise UsageError(f"{repo.name} has manifests of {published.name}, but no {result}: use hub.py rebuild")
        _check_place(root / published.name, published)
    return root


@contextlib.contextmanager
def _staging(root: Place, revision: str, here: Path | None) -> Iterator[Path | None]:
    """The folder that tars lie in until they are checked: for a store `here`, where it is known."""
    if not isinstance(root, Disk):
        yield here
        return
    staging = Path(root.parent.path, _STAGING)  # where nothing takes it for a variant
    try:
        with _writing(root):
            (staging / revision).mkdir(parents=True, exist_ok=True)
        yield staging / revision
    finally:
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


def _download(fetching: Fetching, found: Sequence[Published], cluster: Cluster) -> None:
    """Fetch the tars that are missing, each with its record after it; when a variant has all, its manifests."""
    variants = {published.name: _Variant(published, fetching.root / published.name) for published in found}
    tars = [tar for variant in variants.values() for tar in variant.missing]
    for variant in variants.values():
        variant.put_manifests()
    if not tars:
        return
    work = Work(fetch, fetching, lambda tar: tar.path)
    words = DATASETS[found[0].dataset]
    with (
        counted(sum(tar.images for tar in tars), words.unit, f"{words.noun} here and checked") as advance,
        contextlib.closing(Ray(cluster)) as ray,
        contextlib.closing(crew.each(work, tars, ray, problem_here, most=MOST_TRANSFERS)) as steps,
    ):
        name = ""
        for step in steps:
            if isinstance(step, Finished):
                name = step.piece.place.parent.name
                variants[name].here(step.piece)
            advance(name, step.images if isinstance(step, Progress) else 0)


class _Variant:
    """A variant on its way to a folder: its tars that are not known to be there, and what is put beside them."""

    def __init__(self, published: Published, folder: Place) -> None:
        self._published, self._folder = published, folder
        self._there = folder.files()
        shards = published.summary["shards"]
        self.missing = dict.fromkeys(self._tar(shard) for shard in shards if not self._has(shard))

    def _tar(self, shard: Mapping[str, Any]) -> Tar:
        name = shard["name"]
        said = shard["sha256"], shard["bytes"], shard["samples"]
        return Tar(f"{self._published.name}/{name}", *said, self._folder / name)

    def _has(self, shard: Mapping[str, Any]) -> bool:
        """Whether a tar is in a store, where to read it is to fetch it: its record is there only after one that agrees
        with it. On a disk it is looked at.
        """
        name = shard["name"]
        return (
            not isinstance(self._folder, Disk)
            and self._there.get(name) == shard["bytes"]
            and _record_of(name) in self._there
        )

    def here(self, tar: Tar) -> None:
        """A tar is in place."""
        self._put(_record_of(tar.place.name))
        del self.missing[tar]
        self.put_manifests()

    def put_manifests(self) -> None:
        """Put the manifests in place, if all tars are."""
        for file in () if self.missing else (TABLE, TIMM, SUMMARY):
            self._put(file)

    def _put(self, file: str) -> None:
        if file not in self._there:
            put_file(self._folder / file, self._published.folder / file)


def fetch(tar: Tar, fetching: Fetching, careful: bool) -> Generator[int, None, None]:
    """A worker's part: download one tar, unless it is on the disk, and put it in place if it is what its record says.

    Raises ContradictionError if it is not.
    """
    quiet()
    with _writing(tar.place.parent):
        if _is_here(tar):
            yield tar.images
        else:
            yield from fetch_tar(fetching, tar)


def problem_here(fetching: Fetching) -> str | None:
    """What is wrong with the token of this machine, or with where the tars are to be, as this machine sees it."""
    try:
        fetching.repo.commit(fetching.revision)
        if fetching.staging and not fetching.staging.is_dir():
            return f"--output {fetching.root.parent} is not the same folder there: {SHARE}"
        fetching.root.is_dir()
    except SysNoiseError as error:
        return str(error)
    return None


def fetch_tar(fetching: Fetching, tar: Tar) -> Generator[int, None, None]:
    """Download one tar, and put it in place if it is what its record says. Raises ContradictionError if it is not.

    Yields how many more of its images have come.
    """
    repo, staging = fetching.repo, fetching.staging
    with contextlib.nullcontext(staging) if staging else tempfile.TemporaryDirectory() as folder:
        fetch = partial(repo.fetch, tar.path, fetching.revision, Path(folder))
        fetched = yield from arriving(fetch, tar.size, tar.images)
        if _sha256(fetched) != tar.sha256:
            raise ContradictionError(
                f"{repo.name}: {tar.path} does not have the sha256 of its record: refused, and what agrees is kept"
            )
        move(fetched, tar.place)


@contextlib.contextmanager
def _writing(folder: Place) -> Iterator[None]:
    """Raises RunError where a disk cannot be written."""
    try:
        yield
    except OSError as error:  # a store's own errors are others
        where = folder if isinstance(folder, Disk) else tempfile.gettempdir()
        raise RunError(
            f"cannot write to {where} ({error.strerror or error}): what is whole is kept, and the same command goes on"
        ) from None


def _is_here(tar: Tar) -> bool:
    """Whether a tar is in place on a disk; one in a store has been looked for."""
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
