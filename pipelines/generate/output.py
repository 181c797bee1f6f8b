"""The output folder: names, atomic commits, the lock, and whether what is there may be continued.

`OUT/<dataset>/<variant>/` holds shards, records and manifests. A file gets its real name only when it is whole. On a
disk, `OUT/<dataset>/.run/` exists only while a run does, and holds its lock, its mark and what is half-written. In an
object store there is neither: what is half-written lies in the worker's own temporary folder, and two runs at a time
put the same bytes in place, or one of them ends when it finds the other's.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from manifests.derive import Part, descriptions, part_of, write_table
from manifests.schema import SPLIT, SUMMARY, TABLE, Columns, Recipe, parse_summary, shard_name
from manifests.untrusted import LARGEST_JSON
from pipelines.errors import RunError, UsageError
from pipelines.generate.sources.reading import Chore, Spread, here
from pipelines.store import Disk, Place, Remote

_RUN = ".run"
# Seconds of a processor that a row of a record takes to be read.
_ROW = 15e-6


@dataclass(frozen=True)
class Draft:
    """A file that is being written, and its path where it has one."""

    file: BinaryIO
    path: str | None


@dataclass(frozen=True)
class Output:
    """`OUT/<dataset>`. `mark` names a file in `.run/` by which a worker knows that it sees the same disk."""

    root: Place
    mark: str = ""

    def folder(self, variant: str) -> Place:
        return self.root / variant

    def tar(self, variant: str, shard: int, shards: int) -> Place:
        return self.folder(variant) / f"{shard_name(shard, shards)}.tar"

    def record(self, variant: str, shard: int, shards: int) -> Place:
        return self.folder(variant) / f"{shard_name(shard, shards)}.json"

    @contextlib.contextmanager
    def draft(self) -> Iterator[Draft]:
        """A file to write to, which is gone at the end unless it was committed."""
        if isinstance(self.root, Remote):
            with tempfile.TemporaryFile() as file:
                yield Draft(file, None)
            return
        path = os.path.join(self.root.path, _RUN, f"{uuid.uuid4().hex}.partial")
        with open(path, "wb") as file:
            try:
                yield Draft(file, path)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)

    def commit(self, draft: Draft, place: Place) -> None:
        """Put a draft in place, whole."""
        draft.file.flush()
        if isinstance(place, Remote):
            # Not closed here: an error that is on its way may still hold it.
            place.write(memoryview(mmap.mmap(draft.file.fileno(), 0, access=mmap.ACCESS_READ)))
        else:
            assert draft.path
            os.fsync(draft.file.fileno())
            os.replace(draft.path, place.path)

    def write(self, place: Place, data: bytes) -> None:
        """Put a whole file in place, or nothing."""
        with self.draft() as draft:
            draft.file.write(data)
            self.commit(draft, place)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Errors of the file system become RunErrors that say where there was no room, or what could not be written."""
        try:
            yield
        except OSError as error:
            where = tempfile.gettempdir() if isinstance(self.root, Remote) else self.root
            raise _cannot_write(str(where), error) from None

    def is_seen(self) -> bool:
        """Whether this machine sees the disk that the run's driver has marked; an object store is seen by all."""
        return not isinstance(self.root, Disk) or (self.root / _RUN / self.mark).is_file()

    @contextlib.contextmanager
    def locked(self) -> Iterator[Output]:
        """Hold the output for this run, marked; whatever a killed run left half-written is removed first.

        Raises UsageError where the folder cannot be written or another run holds it.
        """
        if not isinstance(self.root, Disk):
            yield self
            return
        run = Path(self.root.path, _RUN)
        try:
            run.mkdir(parents=True, exist_ok=True)
            lock = FileLock(run / "lock", timeout=0)
            lock.acquire()
        except Timeout:
            raise UsageError(
                f"another run is writing to {self.root}: wait for it, or choose another --output"
            ) from None
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise _cannot_write(str(self.root), error) from None
            raise UsageError(f"cannot write to {self.root} ({error.strerror}): choose another --output") from None
        try:
            for left in run.glob("*.*"):
                left.unlink()
            marked = Output(self.root, f"{uuid.uuid4().hex}.mark")
            (run / marked.mark).touch()
            yield marked
        finally:
            shutil.rmtree(run, ignore_errors=True)
            lock.release()

    def begin(self, recipes: Mapping[str, Recipe], overwrite: bool) -> None:
        """Make the variants' folders; refuse what another configuration, source or library version has made here.

        With `overwrite`, those of the variants in `recipes` are removed instead; others that do not fit beside them are
        refused still. Nothing is removed unless all is well.
        """
        here = [name for name in self.root.folders() if not name.startswith(".")]
        conflicts = {name: why for name in here if (why := self._conflict(name, recipes))}
        for name, conflict in conflicts.items():
            if not overwrite or name not in recipes:
                way = "use --overwrite to make it anew" if name in recipes else "delete that folder"
                raise UsageError(f"{conflict}: {way}, or choose another --output")
        for name in recipes.keys() & self.root.files().keys():
            raise UsageError(
                f"{self.folder(name)} is a file where a folder must be: move it, or choose another --output"
            )
        for name in conflicts:
            self.folder(name).remove()
        for name in recipes:
            self.folder(name).make()

    def _conflict(self, name: str, recipes: Mapping[str, Recipe]) -> str | None:
        """Why the variant in `name` cannot stand beside those that are to be made; None if it can.

        The same variant must have the same recipe; another one, the same configuration and the same versions of the
        libraries that both use.
        """
        old = self._recipe_in(name)
        if old is None:
            return None
        for new in recipes.values():
            if new.name == name:
                differences = old.differences(new)
            else:
                differences = _comparable(old, new).differences(_comparable(new, old))
            if differences:
                # A digest of the code says least, and goes with every other version of ours.
                told = min(differences, key=lambda difference: difference.startswith("provenance.code_sha256"))
                more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
                return f"{self.folder(name)} was made with another {_what(told)}, {told}{more}"
        return None

    def _recipe_in(self, name: str) -> Recipe | None:
        folder = self.folder(name)
        for file in folder.files():
            if file.startswith(f"{SPLIT}-") and file.endswith(".json"):
                record = _readable(folder / file)
                if record:
                    return record.recipe
        return None

    def done(self, variant: str, shards: int, recipe: Recipe, spread: Spread = here) -> set[int]:
        """The shards of a variant that are whole: their record is there, and so is a tar of the recorded size.

        Where a manifest was written before, the record must also be the one that it was written from.
        """
        sizes = self.folder(variant).files()
        known = self._known_records(variant) if SUMMARY in sizes else {}
        named = [(self.tar(variant, shard, shards).name, shard) for shard in range(shards)]
        there = [(sizes[tar], shard) for tar, shard in named if tar in sizes and _record_of(tar) in sizes]
        look = partial(_whole, self, recipe, shards)
        chore = Chore("looking at records", self.root, look, _seconds(recipe, shards), len)
        found = spread(chore, there)
        return {
            shard
            for (_, shard), sha256 in zip(there, found, strict=True)
            if sha256 and known.get(self.tar(variant, shard, shards).name, sha256) == sha256
        }

    def _known_records(self, variant: str) -> dict[str, str]:
        """The digests of the records that a finished variant's manifest was derived from, by name of tar."""
        try:
            summary = parse_summary((self.folder(variant) / SUMMARY).read(LARGEST_JSON), SUMMARY)
            return {shard["name"]: shard["record_sha256"] for shard in summary["shards"]}
        except (OSError, ValueError):
            return {}

    def finish(self, recipe: Recipe, shards: int, spread: Spread = here) -> dict[str, Any]:
        """Write a variant's manifests from its records, and give back the summary without its many shards."""
        folder = self.folder(recipe.name)
        read = partial(_part, self, recipe, shards)
        chore = Chore("reading records", self.root, read, _seconds(recipe, shards), attrgetter("size"))
        with self.draft() as draft:
            summary = write_table(spread(chore, range(shards)), draft.file)
            self.commit(draft, folder / TABLE)
        # The manifest last: where it is, all of a variant is.
        for name, data in sorted(descriptions(summary).items(), key=lambda described: described[0] == SUMMARY):
            self.write(folder / name, data)
        del summary["shards"]
        return summary


def _seconds(recipe: Recipe, shards: int) -> float:
    """About how long one of a variant's records takes to be read."""
    return _ROW * int(recipe.config["source"]["samples"]) / shards


def _record_of(tar: str) -> str:
    """The name of the record beside a tar."""
    return f"{tar.removesuffix('.tar')}.json"


def _whole(output: Output, recipe: Recipe, shards: int, held: tuple[int, int]) -> str:
    """The digest of the record of a shard whose tar has so many bytes; nothing where the shard is not whole."""
    size, shard = held
    record = _readable(output.record(recipe.name, shard, shards))
    return record.sha256 if record and record.recipe == recipe and record.tar_bytes == size else ""


def _part(output: Output, recipe: Recipe, shards: int, shard: int) -> Part:
    """A shard's part of its variant's manifest. Raises RunError where its record is not the one that was written."""
    place = output.record(recipe.name, shard, shards)
    record = _readable(place)
    if not record:
        raise RunError(f"{place} is there no more, or was damaged since: run the same command again")
    if record.recipe != recipe:
        raise RunError(f"{place} was put there by another run: give each its own --output, and run again")
    return part_of(record)


def _readable(place: Place) -> Columns | None:
    """A record, or None where there is none or it is damaged: such a shard is made again."""
    try:
        return Columns.from_bytes(place.read(LARGEST_JSON), str(place))
    except (FileNotFoundError, ValueError):
        return None


def _comparable(recipe: Recipe, other: Recipe) -> Recipe:
    """What two different variants must have in common: everything but their methods and what one alone went through."""
    mine, theirs = recipe.provenance, other.provenance
    both = {name: value for name, value in mine.items() if name in theirs}
    libraries = {name: version for name, version in mine["libraries"].items() if name in theirs["libraries"]}
    return Recipe("", {}, recipe.config, {**both, "libraries": libraries})


def _what(difference: str) -> str:
    if difference.startswith("config.source"):
        return "source"
    if difference.startswith("provenance.libraries"):
        return "installation of a library" if "/sha256: " in difference else "library version"
    return "CPU or code" if difference.startswith("provenance") else "configuration"


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def _cannot_write(where: str, error: OSError) -> RunError:
    if error.errno in _NO_ROOM:
        return RunError(f"no space left at {where}: whole shards are kept; make room and run the same command again")
    return RunError(f"cannot write to {where} ({error.strerror or error}): whole shards are kept")
