"""A release of an npm package, installed into a folder of its own: by the npm of this machine, for its Node.js.

No script of a package is run: what needs one, as sharp before 0.33, which downloads its libvips, is refused.
"""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from generators.pixels.foreign.cache import full, says_full
from generators.pixels.foreign.needs import parts
from generators.registry import UnavailableError

# The packages that methods come from, and the first release of each that is whole without a script.
PACKAGES: Mapping[str, tuple[int, ...]] = {"sharp": (0, 33)}
_MODULES = "node_modules"
_UNREACHABLE = re.compile(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ENOTCACHED|network")
# Names addresses and the time, and is not imported.
_LOCK = ".package-lock.json"


def problem() -> str | None:
    """What to do to have Node.js and npm, in one line; None where they are there."""
    lacking = [package for program, package in (("node", "nodejs"), ("npm", "npm")) if not shutil.which(program)]
    return f"needs Node.js and npm: apt-get install {' '.join(lacking)}" if lacking else None


def node() -> str:
    """The program that runs JavaScript. Raises UnavailableError."""
    found = shutil.which("node")
    if found is None:
        raise UnavailableError(f"a package of npm {problem()}")
    return found


def install(folder: Path, package: str, version: str) -> None:
    """Install a release into a new folder. Raises UnavailableError."""
    name = f"{package} {version}"
    if lacking := problem():
        raise UnavailableError(f"{name} {lacking}")
    if parts(version) < PACKAGES[package]:
        first = ".".join(map(str, PACKAGES[package]))
        raise UnavailableError(f"{name} downloads a part of itself, which is not done here: take {first} or later")
    folder.mkdir()
    quiet = ("--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock", "--loglevel=error")
    done = _npm("install", "--prefix", str(folder), "--prefer-offline", *quiet, f"{package}@{version}")
    if done.returncode:
        raise UnavailableError(_reason(name, done.stderr))


def modules(folder: Path) -> Path:
    """The folder of the packages that are installed in a folder."""
    return folder / _MODULES


def installed(folder: Path) -> dict[str, str]:
    """The packages that are installed in a folder, and their versions."""
    found = (json.loads(path.read_text()) for path in _manifests(modules(folder)))
    return {each["name"]: each["version"] for each in found}


def files(folder: Path) -> Iterator[str]:
    """The files of the packages that are installed in a folder, relative to `modules`."""
    root = modules(folder)
    for path in root.rglob("*"):
        if path.is_file() and path.name != _LOCK and ".bin" not in path.parts:
            yield str(path.relative_to(root))


@functools.cache
def newest_of_each_minor(package: str) -> tuple[str, ...]:
    """The newest release of each minor version, the oldest first: npm's packages break what they do there before 1.0.

    Raises UnavailableError where that is unknown.
    """
    if lacking := problem():
        raise UnavailableError(f"{package} {lacking}")
    done = _npm("view", package, "versions", "--json")
    if done.returncode:
        raise UnavailableError(_reason(package, done.stderr))
    whole = [version for version in json.loads(done.stdout) if re.fullmatch(r"\d+\.\d+\.\d+", version)]
    ordered = sorted((version for version in whole if parts(version) >= PACKAGES[package]), key=parts)
    return tuple({parts(version)[:2]: version for version in ordered}.values())


def _manifests(root: Path) -> list[Path]:
    return sorted([*root.glob("[!.@]*/package.json"), *root.glob("@*/*/package.json")])


def _npm(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["npm", *words], capture_output=True, text=True, check=False)


def _reason(name: str, said: str) -> str:
    if says_full(said):
        return str(full())
    if "ETARGET" in said or "E404" in said:
        return f"there is no release {name} that npm can find"
    if _UNREACHABLE.search(said):
        return f"{name} cannot be fetched by npm: try again with a network, or copy its environment here"
    lines = [line.partition("npm error ")[2].strip() for line in said.splitlines()]
    return f"{name} cannot be installed by npm: {next(filter(None, lines), said.strip() or 'it has failed')}"
