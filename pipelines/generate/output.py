"""The output folder: names, atomic commits, the lock, and whether what is there may be continued.

`OUT/<dataset>/<variant>/` holds shards, records and manifests. A file gets its real name only when it is whole. On a
disk, `OUT/<dataset>/.run/` exists only while a run does, and holds its lock and a folder that is the run's alone, of
parts of shards and what is half-written: workers that outlive a killed run find theirs gone, and write into no other's.
In an object store there is no lock: what is half-written lies in the worker's own temporary folder, parts in `.run/`
under a name that is the run's alone, and two runs at a time put the same bytes in place, or one of them ends when it
finds the other's. The run's log lies beside the variants, and is no part of the set.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
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

from filelock import FileLock, Timeout

from generators.draw import TOKENS
from manifests.derive import Part, descriptions, part_of, write_table
from manifests.schema import SUMMARY, TABLE, Columns, Recipe, parse_summary
from manifests.splits import VALIDATION, is_record, shard_name
from manifests.untrusted import LARGEST_JSON
from pipelines.errors import RunError, UsageError
from pipelines.generate.sources.reading import Chore, Spread, here
from pipelines.progress import say
from pipelines.store import Disk, Place, Remote, StoreError, abandoned

_RUN = ".run"
# A line of JSON for each run that made something: of when and where it ran, which is in no other file.
RUN_LOG = "run.log"
# Seconds of a processor that a row of a record takes to be read.
_ROW = 15e-6


@dataclass(frozen=True)
class Draft:
    """A file that is being written, and its path where it has one."""

    file: BinaryIO
    path: str | None


@dataclass(frozen=True)
class Output:
    """`OUT/<dataset>`. `run` names what is in `.run/` of this run alone, and `split` what is written."""

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
        """Where a part of a shard lies until the shard is put together."""
        return self._own / f"{name}.part"

    @property
    def _own(self) -> Place:
        """The folder of what this run alone writes and reads. On a disk, a worker that sees it sees the same disk."""
        return self.root / _RUN / self.run

    @contextlib.contextmanager
    def draft(self) -> Iterator[Draft]:
        """A file to write to, which is gone at the end unless it was committed."""
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
        """Put a draft in place, whole; unless `durable`, it need not outlive the machine's next crash."""
        draft.file.flush()
        if isinstance(place, Remote):
            place.write_file(draft.file)
        else:
            assert draft.path
            if durable:
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
        """Whether this machine sees the folder that the run's driver has made; an object store is seen by all."""
        return not isinstance(self.root, Disk) or self._own.is_dir()

    @contextlib.contextmanager
    def locked(self) -> Iterator[Output]:
        """Hold the output for this run; whatever a killed run left half-written is removed first.

        Raises UsageError where the folder cannot be written or another run holds it.
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
            with own.writing():
                for left in run.iterdir():
                    if left.is_dir():
                        _take_away(left)
                    elif left.name != Path(lock.lock_file).name:
                        left.unlink()
                own._own.make()
            yield own
        finally:
            _take_away(Path(own._own.path))
            with contextlib.suppress(OSError):
                os.unlink(lock.lock_file)
                run.rmdir()
            lock.release()

    @contextlib.contextmanager
    def reading(self, part: str) -> Iterator[None]:
        """What is wrong with a part of a shard becomes a RunError."""
        try:
            yield
        except (FileNotFoundError, ValueError):
            raise RunError(
                f"{self.part(part)} is there no more, or was damaged since: whole shards are kept; run the same "
                "command again"
            ) from None

    def discard(self, parts: Sequence[str]) -> None:
        """Remove parts that nothing needs any more, of which some may never have been made.

        Those that a store does not let go are left there: no shard lacks anything for that.
        """
        for name in parts:
            with contextlib.suppress(FileNotFoundError, StoreError):
                self.part(name).unlink()

    def _forget(self, patiently: bool = True) -> None:
        """Remove what this run has left in a store, which is waited for only where the run has ended well."""
        given_up = threading.Event()
        if not patiently:
            given_up.set()
        before = abandoned.set(given_up)
        try:
            if self._own.is_dir():
                self._own.remove()
        except RunError as error:  # which would hide why the run ends
            say(f"{self._own} is left, and can be removed: {error}")
        finally:
            abandoned.reset(before)

    def recorded(self) -> dict[str, Recipe]:
        """The recipes of the variants that something is there of, by name."""
        here = [name for name in self.root.folders() if not name.startswith(".")]
        return {name: recipe for name in here if (recipe := self._recipe_in(name))}

    def continued(
        self,
        recipes: Mapping[str, Recipe],
        recorded: Mapping[str, Recipe],
        shards: int,
        overwrite: bool,
        spread: Spread = here,
    ) -> dict[str, Recipe]:
        """The recipes to go on with: its own for a variant that an earlier version has finished, and which stays.

        Raises UsageError where it has not, since nothing tells whether the same bytes would be made now.
        """
        found = dict(recipes)
        for name, new in recipes.items():
            old = recorded.get(name, new)
            if old.is_probed or self._conflict(name, old, recipes):
                continue
            if len(self.done(name, shards, old, spread)) == shards:
                found[name] = old
            elif not overwrite:
                raise UsageError(
                    f"{self.folder(name)} was begun by an earlier version, which did not record what it makes of the "
                    "built-in pictures: finish it with that version, use --overwrite to make it anew, or choose "
                    "another --output"
                )
        return found

    def begin(
        self,
        recipes: Mapping[str, Recipe],
        overwrite: bool,
        recorded: Mapping[str, Recipe] = MappingProxyType({}),
        beside: Mapping[str, Recipe] = MappingProxyType({}),
    ) -> None:
        """Make the variants' folders; refuse what another configuration, source or library version has made here.

        With `overwrite`, those of the variants in `recipes` are removed instead; others that do not fit beside them are
        refused still. Nothing is removed unless all is well. `recorded` is what is here, and `beside` how those of
        it that are not in `recipes` would be made now.
        """
        now = {**beside, **recipes}
        conflicts = {name: why for name, old in recorded.items() if (why := self._conflict(name, old, now))}
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

    def _conflict(self, name: str, old: Recipe, now: Mapping[str, Recipe]) -> str | None:
        """Why the variant in `name` cannot stand beside those that are to be made; None if it can.

        The same variant must have the same recipe; another one, the same configuration and the same versions of the
        libraries that both use. Of what an earlier version made, only what both tell is compared.
        """
        for new in [now[name]] if name in now else now.values():
            if new.name == name and new.is_probed == old.is_probed:
                differences = old.differences(new)
            else:
                differences = old.shared_with(new).differences(new.shared_with(old))
            if differences:
                # What was made of the probe pictures says least, and goes with every other version of a library.
                told = min(differences, key=lambda difference: difference.startswith("provenance.probe_sha256"))
                more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
                return f"{self.folder(name)} was made with another {_what(told)}, {told}{more}"
        return None

    def _recipe_in(self, name: str) -> Recipe | None:
        folder = self.folder(name)
        for file in folder.files():
            if is_record(file):
                record = _readable(folder / file)
                if record:
                    return record.recipe
        return None

    def log(self, told: bytes) -> None:
        """Add what a run tells to the log beside the set: a line, or in an object store an object of its own."""
        if isinstance(self.root, Disk):
            with open((self.root / RUN_LOG).path, "ab") as file:
                file.write(told)
        else:
            stem, _, suffix = RUN_LOG.partition(".")
            now = datetime.now(timezone.utc)
            self.write(self.root / f"{stem}-{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}.{suffix}", told)

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


def _take_away(folder: Path) -> None:
    """Remove a folder that workers may still write into: under another name, they do not find it."""
    with contextlib.suppress(OSError):
        folder = folder.rename(folder.with_name(uuid.uuid4().hex))
    shutil.rmtree(folder, ignore_errors=True)


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


def _what(difference: str) -> str:
    if difference.startswith("config.source"):
        return "source"
    if difference.startswith(tuple(f"provenance.libraries.{token}: " for token in TOKENS.values())):
        return "draw"
    if difference.startswith("provenance.libraries"):
        return "installation of a library" if "/sha256: " in difference else "library version"
    if difference.startswith("provenance.probe_sha256"):
        return "kind of machine or code, which makes other bytes of the built-in pictures"
    return "kind of machine" if difference.startswith("provenance") else "configuration"


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def _cannot_write(where: str, error: OSError) -> RunError:
    if error.errno in _NO_ROOM:
        return RunError(f"no space left at {where}: whole shards are kept; make room and run the same command again")
    return RunError(f"cannot write to {where} ({error.strerror or error}): whole shards are kept")
