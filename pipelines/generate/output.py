"""The output folder: names, atomic commits and the lock.

`OUT/<dataset>/<variant>/` has shards, records and manifests. A file gets its real name only when it is whole. On a
disk, `OUT/<dataset>/.run/` exists only during a run. It has the lock and a private folder of the run, for parts of
shards and unfinished files: workers that outlive a killed run find theirs gone, and write into no other run's. An
object store has no lock: unfinished files stay in the worker's own temporary folder, parts go to `.run/` under a name
private to the run, and two simultaneous runs write the same bytes, or one of them ends when it finds the other's. The
run's log is kept next to the variants and is not part of the set.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from manifests.derive import Part, descriptions, part_of, write_table
from manifests.schema import SUMMARY, TABLE, Columns, Recipe, parse_summary
from manifests.splits import VALIDATION, shard_name
from manifests.untrusted import LARGEST_JSON
from pipelines.errors import RunError, UsageError
from pipelines.generate import disk
from pipelines.generate.conflicts import conflict
from pipelines.generate.sources.reading import Chore, Spread, here
from pipelines.progress import say
from pipelines.store import Disk, Place, Remote, StoreError, abandoned

_RUN = ".run"
# One line of JSON for each run that made something: when and where it ran, which no other file says.
RUN_LOG = "run.log"
# Seconds of processor time to read a record's row.
_ROW = 15e-6


@dataclass(frozen=True)
class Draft:
    """A file being written, and its path if it has one."""

    file: BinaryIO
    path: str | None


@dataclass(frozen=True)
class Output:
    """`OUT/<dataset>`. `run` is the name of this run's folder in `.run/`, and `split` the split being written."""

    root: Place
    run: str = ""
    split: str = VALIDATION

    def folder(self, variant: str) -> Place:
        return self.root / variant

    def tar(self, variant: str, shard: int, shards: int) -> Place:
        return self.folder(variant) / f"{shard_name(shard, shards, self.split)}.tar"

    def record(self, variant: str, shard: int, shards: int) -> Place:
        return self.folder(variant) / f"{shard_name(shard, shards, self.split)}.json"

    def part(self, name: str) -> Place:
        """Where a part of a shard is stored until the shard is put together."""
        return self._own / f"{name}.part"

    @property
    def _own(self) -> Place:
        """The run's private folder. On a disk, a worker that sees it sees the driver's disk."""
        return self.root / _RUN / self.run

    @contextlib.contextmanager
    def draft(self) -> Iterator[Draft]:
        """A file to write to, which is deleted at the end unless it was committed."""
        if isinstance(self.root, Remote):
            with tempfile.TemporaryFile() as file:
                yield Draft(file, None)
            return
        path = (self._own / f"{uuid.uuid4().hex}.partial").path
        with open(path, "wb") as file:
            try:
                yield Draft(file, path)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)

    def commit(self, draft: Draft, place: Place, durable: bool = True) -> None:
        """Move a whole draft into place. Unless `durable`, it need not survive a crash of the machine."""
        draft.file.flush()
        if isinstance(place, Remote):
            place.write_file(draft.file)
        else:
            assert draft.path
            if durable:
                os.fsync(draft.file.fileno())
            os.replace(draft.path, place.path)

    def write(self, place: Place, data: bytes) -> None:
        """Write a file atomically."""
        with self.draft() as draft:
            draft.file.write(data)
            self.commit(draft, place)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turn file-system errors into RunErrors that say where space ran out, or what could not be written."""
        try:
            yield
        except OSError as error:
            where = tempfile.gettempdir() if isinstance(self.root, Remote) else self.root
            raise disk.cannot_write(str(where), error) from None

    def is_seen(self) -> bool:
        """Whether this machine sees the folder made by the run's driver. Every machine sees an object store."""
        return not isinstance(self.root, Disk) or self._own.is_dir()

    @contextlib.contextmanager
    def locked(self) -> Iterator[Output]:
        """Hold the output for this run, after removing whatever a killed run left unfinished.

        Raises UsageError if the folder cannot be written to, or if another run holds it.
        """
        own = replace(self, run=uuid.uuid4().hex)
        if not isinstance(self.root, Disk):
            try:
                yield own
            except BaseException:
                own._forget(patiently=False)
                raise
            own._forget()
            return
        with disk.hold(Path(self.root.path, _RUN), own.run, str(self.root)):
            yield own

    @contextlib.contextmanager
    def reading(self, part: str) -> Iterator[None]:
        """Turn what is wrong with a part of a shard into a RunError."""
        try:
            yield
        except (FileNotFoundError, ValueError):
            raise RunError(
                f"{self.part(part)} no longer exists, or was damaged since: whole shards are kept; run the same "
                "command again"
            ) from None

    def discard(self, parts: Sequence[str]) -> None:
        """Remove parts that are no longer needed; some may never have been made.

        Parts that a store does not delete are left there, which does no harm.
        """
        for name in parts:
            with contextlib.suppress(FileNotFoundError, StoreError):
                self.part(name).unlink()

    def _forget(self, patiently: bool = True) -> None:
        """Remove what this run has left in a store, waiting for it only if the run ended well."""
        given_up = threading.Event()
        if not patiently:
            given_up.set()
        before = abandoned.set(given_up)
        try:
            if self._own.is_dir():
                self._own.remove()
        except RunError as error:  # must not hide why the run ends
            say(f"{self._own} was left behind and can be deleted: {error}")
        finally:
            abandoned.reset(before)

    def begin(
        self,
        recipes: Mapping[str, Recipe],
        overwrite: bool,
        recorded: Mapping[str, Recipe] = MappingProxyType({}),
        beside: Mapping[str, Recipe] = MappingProxyType({}),
    ) -> None:
        """Make the variants' folders. Refuses a folder made with another configuration, source or library version.

        With `overwrite`, variants in `recipes` that conflict are removed; other conflicts are still refused. Nothing is
        removed unless everything can go ahead. `recorded` has the recipes found here, and `beside` the recipes with
        which those that are not in `recipes` would be made now.
        """
        now = {**beside, **recipes}
        conflicts = {name: why for name, old in recorded.items() if (why := conflict(name, old, now))}
        for name, why in conflicts.items():
            if not overwrite or name not in recipes:
                way = "use --overwrite to make it again" if name in recipes else "delete that folder"
                raise UsageError(f"{self.folder(name)} {why}: {way}, or choose another --output")
        for name in recipes.keys() & self.root.files().keys():
            raise UsageError(
                f"{self.folder(name)} is a file, but a folder is needed: move it, or choose another --output"
            )
        for name in conflicts:
            self.folder(name).remove()
        for name in recipes:
            self.folder(name).make()

    def log(self, line: bytes) -> None:
        """Append a line to the log next to the set; in an object store, write it as a separate object."""
        if isinstance(self.root, Disk):
            with open((self.root / RUN_LOG).path, "ab") as file:
                file.write(line)
        else:
            stem, _, suffix = RUN_LOG.partition(".")
            now = datetime.now(timezone.utc)
            self.write(self.root / f"{stem}-{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}.{suffix}", line)

    def done(self, variant: str, shards: int, recipe: Recipe, spread: Spread = here) -> set[int]:
        """The shards of a variant that are whole: each has a record, and a tar of the recorded size.

        If the variant has a manifest, the record must also be the one from which that was derived.
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
        """Digests of the records that a finished variant's manifest was derived from, by name of tar."""
        try:
            summary = parse_summary((self.folder(variant) / SUMMARY).read(LARGEST_JSON), SUMMARY)
            return {shard["name"]: shard["record_sha256"] for shard in summary["shards"]}
        except (OSError, ValueError):
            return {}

    def finish(self, recipe: Recipe, shards: int, spread: Spread = here) -> dict[str, Any]:
        """Write a variant's manifests from its records, and return the summary without its long list of shards."""
        folder = self.folder(recipe.name)
        read = partial(_part, self, recipe, shards)
        chore = Chore("reading records", self.root, read, _seconds(recipe, shards), attrgetter("size"))
        with self.draft() as draft:
            summary = write_table(spread(chore, range(shards)), draft.file)
            self.commit(draft, folder / TABLE)
        # manifest.json comes last: if it exists, the whole variant does.
        for name, data in sorted(descriptions(summary).items(), key=lambda described: described[0] == SUMMARY):
            self.write(folder / name, data)
        del summary["shards"]
        return summary


def _seconds(recipe: Recipe, shards: int) -> float:
    """About how long it takes to read one of a variant's records."""
    return _ROW * int(recipe.config["source"]["samples"]) / shards


def _record_of(tar: str) -> str:
    """The name of a tar's record."""
    return f"{tar.removesuffix('.tar')}.json"


def _whole(output: Output, recipe: Recipe, shards: int, held: tuple[int, int]) -> str:
    """The digest of a shard's record, given the size of its tar and its number; empty if the shard is not whole."""
    size, shard = held
    record = readable(output.record(recipe.name, shard, shards))
    return record.sha256 if record and record.recipe == recipe and record.tar_bytes == size else ""


def _part(output: Output, recipe: Recipe, shards: int, shard: int) -> Part:
    """A shard's part of its variant's manifest. Raises RunError if its record is not the one that was written."""
    place = output.record(recipe.name, shard, shards)
    record = readable(place)
    if not record:
        raise RunError(f"{place} no longer exists, or was damaged since: run the same command again")
    if record.recipe != recipe:
        raise RunError(f"{place} was written by another run: give each run its own --output, and run again")
    return part_of(record)


def readable(place: Place) -> Columns | None:
    """A record; None if it does not exist or is damaged, in which case its shard is made again."""
    try:
        return Columns.from_bytes(place.read(LARGEST_JSON), str(place))
    except (FileNotFoundError, ValueError):
        return None
