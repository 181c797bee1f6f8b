"""An environment with one release of a distribution: made once on a machine, by uv, and described.

It lies in `SYSNOISE_CACHE` (by default the user's cache folder), in a folder that is named after the release, and is
whole when its description is there. Two runs that want the same one at once make it once. What is installed there is
hashed, so that a set says what made it; nothing of it is ever imported by this process.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from generators.pixels.foreign.needs import NEEDS, parts
from generators.registry import UnavailableError

_ABOUT = "environment.json"
_FOLDER = "environments"
# The oldest Python that the programs are written for.
_OLDEST = (3, 7)


@dataclass(frozen=True)
class Environment:
    """A folder with a Python and a release; `sha256` is of the files that were installed."""

    folder: Path
    python_version: str
    sha256: str

    @property
    def python(self) -> Path:
        """The program to run."""
        return self.folder / "bin" / "python"


def cache() -> Path:
    """Where environments lie."""
    given = os.environ.get("SYSNOISE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(given) if given else Path(base) / "sysnoise"


@functools.cache
def environment(distribution: str, version: str) -> Environment:
    """The environment of a release, which is made if it is not there. Raises UnavailableError."""
    folder = _folder(distribution, version)
    if found := _read(folder):
        return found
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        found = _read(folder)
        if found is None:
            _make(folder, distribution, version)
            found = _read(folder)
            assert found
    return found


def is_made(distribution: str, version: str) -> bool:
    """Whether the environment of a release is there."""
    return _read(_folder(distribution, version)) is not None


def at_hand() -> dict[str, list[str]]:
    """The releases whose environments are there, the oldest first, by distribution."""
    found: dict[str, list[str]] = {}
    for about in (cache() / _FOLDER).glob(f"*/{_ABOUT}"):
        distribution, _, version = about.parent.name.rpartition("-")
        if is_made(distribution, version):
            found.setdefault(distribution, []).append(version)
    return {distribution: sorted(versions, key=parts) for distribution, versions in sorted(found.items())}


def _folder(distribution: str, version: str) -> Path:
    return cache() / _FOLDER / f"{distribution}-{version}"


def _read(folder: Path) -> Environment | None:
    try:
        about = json.loads((folder / _ABOUT).read_text())
    except (OSError, ValueError):
        return None
    found = Environment(folder, about["python"], about["sha256"])
    return found if os.access(found.python, os.X_OK) else None  # the Python that it was made of may be gone


def _make(folder: Path, distribution: str, version: str) -> None:
    requirements = [f"{distribution}=={version}", *NEEDS[distribution].beside(parts(version))]
    for python in pythons():
        shutil.rmtree(folder, ignore_errors=True)
        uv("venv", "--python", python, str(folder))
        done = uv("pip", "install", "--python", str(folder), "--only-binary", ":all:", *requirements)
        if done.returncode == 0:
            break
    else:
        raise UnavailableError(done.stderr)
    (folder / _ABOUT).write_text(json.dumps(_describe(folder)))


def _describe(folder: Path) -> dict[str, str]:
    (packages,) = folder.glob("lib/python*/site-packages")
    total = hashlib.sha256()
    for path in sorted(_installed(packages)):
        total.update(f"{path} {hashlib.sha256((packages / path).read_bytes()).hexdigest()}\n".encode())
    return {"python": packages.parent.name.removeprefix("python"), "sha256": total.hexdigest()}


def _installed(packages: Path) -> Iterator[str]:
    """The files that distributions have brought, but for what depends on where they lie and who has installed them."""
    for found in importlib.metadata.distributions(path=[str(packages)]):
        for file in found.files or ():
            if file.hash and file.parts[0] != "..":
                yield str(file)


def pythons() -> list[str]:
    """The Pythons of this machine, the newest first, one of each minor version."""
    done = uv("python", "list", "--only-installed", "--output-format", "json")
    found: dict[tuple[int, ...], str] = {}
    for python in json.loads(done.stdout):
        minor = python["version_parts"]["major"], python["version_parts"]["minor"]
        if python["implementation"] == "cpython" and minor >= _OLDEST:
            found.setdefault(minor, python["path"])
    return [found[minor] for minor in sorted(found, reverse=True)]


def uv(*words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run uv, with `given` on its standard input."""
    command = [sys.executable, "-m", "uv", *words]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False, env=_surroundings())


def _surroundings() -> dict[str, str]:
    """As ours, with the Pythons that pyenv has: its own programs stand for none that is not chosen."""
    root = os.environ.get("PYENV_ROOT") or Path("~/.pyenv").expanduser()
    pyenv = sorted(map(str, Path(root).glob("versions/3.*/bin")))
    return {**os.environ, "PATH": os.pathsep.join([*pyenv, os.environ.get("PATH", "")])}
