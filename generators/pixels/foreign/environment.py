"""An environment with one release of a distribution: made once per machine, described, and found again.

It is a folder in the cache, named after the release. It is made in a temporary folder next to that and moved into place
when complete, under a lock, so that concurrent runs make it only once. Its description records what was installed,
which a set in turn records; this process never imports anything from it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from generators.method import UnavailableError
from generators.pixels.foreign import npm
from generators.pixels.foreign.cache import environments, written
from generators.pixels.foreign.install import install
from generators.pixels.foreign.needs import NEEDS, parts
from generators.pixels.foreign.resolution import Release

_ABOUT = "environment.json"
# Suffixes of the compiled parts of packages: Python's and Node.js's.
_LIBRARY = {".so", ".node"}


@dataclass(frozen=True)
class About:
    """What an environment consists of.

    Python's minor version, empty for Node.js; the version of each distribution; the compiler, if the release was built;
    the sha256 of the installed files (environments with the same one give the same pixels on the same kind of CPU);
    and, to detect damage, the entries of `packages` and the size of each library in it.
    """

    python: str
    distributions: Mapping[str, str]
    built: str
    sha256: str
    entries: list[str]
    libraries: Mapping[str, int]


@dataclass(frozen=True)
class Environment:
    """A folder with a release, and the Python or Node.js that runs it."""

    folder: Path
    about: About

    @property
    def python(self) -> Path:
        """The Python to run."""
        return self.folder / "bin" / "python"

    @property
    def node(self) -> Path:
        """The Node.js to run, if there is no Python."""
        return npm.node(self.folder)

    @property
    def packages(self) -> Path:
        """The folder of the installed packages."""
        python = self.about.python
        return self.folder / "lib" / f"python{python}" / "site-packages" if python else npm.modules(self.folder)

    @property
    def whole(self) -> bool:
        """Whether its program and packages are all there. The check is quick, since every worker makes it."""
        packages = self.packages
        try:
            return (
                os.access(self.python if self.about.python else self.node, os.X_OK)
                and set(self.about.entries) <= set(os.listdir(packages))
                and all(os.stat(f"{packages}/{name}").st_size == size for name, size in self.about.libraries.items())
            )
        except OSError:
            return False


@functools.cache
def environment(distribution: str, version: str) -> Environment:
    """The environment of a release, which is made if it does not exist. Raises UnavailableError."""
    folder = environments() / f"{distribution}-{version}"
    if found := _read(folder):
        return found
    with written():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not (found := _read(folder)):
                _make(folder, Release(distribution, version))
                found = _read(folder)
    if not found:
        raise UnavailableError(f"{folder} was made but is incomplete: remove it and try again")
    return found


def is_made(distribution: str, version: str) -> bool:
    """Whether the environment of a release exists."""
    return _read(environments() / f"{distribution}-{version}") is not None


def at_hand() -> dict[str, list[str]]:
    """The releases whose environments exist: versions by distribution, the oldest first."""
    try:
        folders = [path.parent for path in environments().glob(f"*/{_ABOUT}") if _read(path.parent)]
    except UnavailableError:  # there is no cache
        return {}
    found: dict[str, list[str]] = {}
    for folder in folders:
        distribution, _, version = folder.name.rpartition("-")
        if distribution in NEEDS or distribution in npm.PACKAGES:
            found.setdefault(distribution, []).append(version)
    return {name: sorted(found[name], key=lambda version: (parts(version), version)) for name in sorted(found)}


def _read(folder: Path) -> Environment | None:
    """The environment in a folder; None if it is missing or incomplete."""
    try:
        found = Environment(folder, About(**json.loads((folder / _ABOUT).read_text())))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.whole else None


def _make(folder: Path, release: Release) -> None:
    """Make an environment and move it into place, after removing what killed runs have left."""
    for left in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent, ignore_cleanup_errors=True) as made:
        new = Path(made, folder.name)
        if release.distribution in npm.PACKAGES:
            npm.install(new, release.distribution, release.version)
            about = _about(npm.modules(new), dict.fromkeys(npm.files(new), True), npm.installed(new))
        else:
            about = _describe(new, release, install(new, release))
        (new / _ABOUT).write_text(json.dumps(asdict(about)))
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)


def _describe(folder: Path, release: Release, built: str) -> About:
    (packages,) = folder.glob("lib/python*/site-packages")
    found = {each.metadata["Name"].lower(): each for each in importlib.metadata.distributions(path=[str(packages)])}
    affecting = NEEDS[release.distribution].affecting
    files = {}
    for name, each in found.items():
        decides = affecting is None or re.sub("[-_.]+", "-", name) in (release.distribution, *affecting)
        files.update(dict.fromkeys(_imported(each), decides))
    distributions = {name: each.version for name, each in found.items()}
    return _about(packages, files, distributions, packages.parent.name.removeprefix("python"), built)


def _about(
    packages: Path, files: Mapping[str, bool], distributions: Mapping[str, str], python: str = "", built: str = ""
) -> About:
    """The description of an environment; `files` are all that can be imported, and whether each affects pixels."""
    names = sorted(files)
    total = hashlib.sha256()
    for name in filter(files.get, names):
        total.update(f"{name} {hashlib.sha256((packages / name).read_bytes()).hexdigest()}\n".encode())
    return About(
        python=python,
        distributions=distributions,
        built=built,
        sha256=total.hexdigest(),
        entries=sorted(path.name for path in packages.iterdir() if path.name != "__pycache__"),
        libraries={name: (packages / name).stat().st_size for name in names if _LIBRARY & {*Path(name).suffixes}},
    )


def _imported(distribution: importlib.metadata.Distribution) -> Iterator[str]:
    """The files that can be imported, without the installer's records and Python's bytecode."""
    for file in distribution.files or ():
        aside = file.parts[0] == ".." or file.parts[0].endswith(".dist-info") or file.suffix == ".pyc"
        if not aside:
            yield str(file)
