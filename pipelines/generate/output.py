"""The output folder: names, atomic commits, the lock, and whether what is there may be continued.

`OUT/<dataset>/<variant>/` holds shards, records and manifests; `OUT/<dataset>/.run/` exists only while a run does, and
holds its lock and what is half-written. A file gets its real name only when it is whole.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from manifests.derive import derive, read_records
from manifests.schema import SPLIT, SUMMARY, ManifestError, Recipe, Record, shard_name
from pipelines.errors import RunError, UsageError

_RUN = ".run"


@dataclass(frozen=True)
class Output:
    """`OUT/<dataset>`, as an absolute path."""

    root: str

    def folder(self, variant: str) -> Path:
        return Path(self.root) / variant

    def partial(self) -> Path:
        """A new name for something half-written, on the same file system as the rest."""
        return Path(self.root) / _RUN / f"{uuid.uuid4().hex}.partial"

    def tar(self, variant: str, shard: int, shards: int) -> Path:
        return self.folder(variant) / f"{shard_name(shard, shards)}.tar"

    def record(self, variant: str, shard: int, shards: int) -> Path:
        return self.folder(variant) / f"{shard_name(shard, shards)}.json"

    def write(self, path: Path, data: bytes) -> None:
        """Put a whole file in place, or nothing."""
        partial = self.partial()
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)

    def variants(self) -> list[str]:
        """The folders that are here, sorted."""
        root = Path(self.root)
        return sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the output for this run; whatever a killed run left half-written is removed first.

        Raises UsageError where the folder cannot be written or another run holds it.
        """
        run = Path(self.root) / _RUN
        try:
            run.mkdir(parents=True, exist_ok=True)
            lock = FileLock(run / "lock", timeout=0)
            lock.acquire()
        except Timeout:
            raise UsageError(
                f"another run is writing to {self.root}: wait for it, or choose another --output"
            ) from None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise cannot_write(self.root, error) from None
            raise UsageError(f"cannot write to {self.root} ({error.strerror}): choose another --output") from None
        try:
            for partial in run.glob("*.partial"):
                partial.unlink()
            yield
        finally:
            shutil.rmtree(run, ignore_errors=True)
            lock.release()

    def begin(self, recipes: Mapping[str, Recipe], overwrite: bool) -> None:
        """Make the variants' folders; refuse what another configuration, source or library version has made here.

        With `overwrite`, those of the variants in `recipes` are removed instead; others that do not fit beside them are
        refused still. Nothing is removed unless all is well.
        """
        conflicts = {name: why for name in self.variants() if (why := self._conflict(name, recipes))}
        for name, conflict in conflicts.items():
            if not overwrite or name not in recipes:
                way = "use --overwrite to make it anew" if name in recipes else "delete that folder"
                raise UsageError(f"{conflict}: {way}, or choose another --output")
        for folder in map(self.folder, recipes):
            if folder.is_file():
                raise UsageError(f"{folder} is a file where a folder must be: move it, or choose another --output")
        for name in conflicts:
            shutil.rmtree(self.folder(name))
        for name in recipes:
            self.folder(name).mkdir(exist_ok=True)

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
                more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
                return f"{self.folder(name)} was made with another {_what(differences[0])}, {differences[0]}{more}"
        return None

    def _recipe_in(self, name: str) -> Recipe | None:
        for path in sorted(self.folder(name).glob(f"{SPLIT}-*.json")):
            record = _readable(path)
            if record:
                return record.recipe
        return None

    def done(self, variant: str, shards: int, recipe: Recipe) -> set[int]:
        """The shards of a variant that are whole: their record is there, and so is a tar of the recorded size.

        Where a manifest was written before, the record must also be the one that it was written from.
        """
        known = self._known_records(variant)
        whole = set()
        for shard in range(shards):
            record = _readable(self.record(variant, shard, shards))
            tar = self.tar(variant, shard, shards)
            if not record or record.recipe != recipe or not tar.is_file() or tar.stat().st_size != record.tar_bytes:
                continue
            if known.get(tar.name, record.sha256) == record.sha256:
                whole.add(shard)
        return whole

    def _known_records(self, variant: str) -> dict[str, str]:
        """The digests of the records that a finished variant's manifest was derived from, by name of tar."""
        try:
            summary = json.loads((self.folder(variant) / SUMMARY).read_bytes())
            return {shard["name"]: shard["record_sha256"] for shard in summary["shards"]}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def finish(self, variant: str, shards: int) -> dict[str, Any]:
        """Write a variant's manifests from its records, and give back the summary."""
        folder = self.folder(variant)
        manifest = derive(read_records(self.record(variant, shard, shards) for shard in range(shards)))
        for name, data in manifest.files.items():
            self.write(folder / name, data)
        return manifest.summary


def _readable(path: Path) -> Record | None:
    """A record, or None where there is none or it is damaged: such a shard is made again."""
    try:
        return Record.from_bytes(path.read_bytes(), str(path))
    except (FileNotFoundError, ManifestError):
        return None


def _comparable(recipe: Recipe, other: Recipe) -> Recipe:
    """What two different variants must have in common: everything but their methods and the libraries of one alone."""
    libraries, others = (r.provenance["libraries"] for r in (recipe, other))
    shared = {name: version for name, version in libraries.items() if name in others}
    return Recipe("", {}, recipe.config, {**recipe.provenance, "libraries": shared})


def _what(difference: str) -> str:
    if difference.startswith("config.source"):
        return "source"
    if difference.startswith("provenance.libraries"):
        return "library version"
    return "CPU or code" if difference.startswith("provenance") else "configuration"


def cannot_write(where: str, error: OSError) -> RunError:
    """The error of an output that could not be written, a full disk above all."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(f"no space left at {where}: whole shards are kept; make room and run the same command again")
    return RunError(f"cannot write to {where} ({error.strerror or error}): whole shards are kept")
