"""Installs a release: chooses a Python, and wheels or a build from source, and says what to do if neither works.

Takes the newest Python of this machine that has wheels for it; else the newest that uv can download; else builds it
with the oldest Python, which is closest to the release's time. Without a network it uses uv's cache, and wheels in the
cache's `wheels` folder.
"""

from __future__ import annotations

import itertools
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from generators.method import UnavailableError
from generators.pixels.foreign import build
from generators.pixels.foreign.cache import wheels
from generators.pixels.foreign.needs import NEEDS, parts
from generators.pixels.foreign.pythons import Python, downloadable, installed
from generators.pixels.foreign.resolution import ALONE, Release
from generators.pixels.foreign.uv import NetworkError, UvError, refuse_offline, uv


def install(folder: Path, release: Release) -> str:
    """Install a release into a new environment. Returns its compiler, empty for wheels. Raises UnavailableError."""
    try:
        pythons = installed()
        try:
            refuse_offline()
            return _install(folder, release, pythons)
        except NetworkError as error:
            if not _install_offline(folder, release, pythons):
                raise _unreachable(release, pythons, error) from None
            return ""
    except UvError as error:
        raise UnavailableError(f"{release} cannot be installed: {error}") from None


def _install(folder: Path, release: Release, pythons: Sequence[Python]) -> str:
    for python in pythons:
        if found := release.wheels(python, pythons):
            _make(folder, python)
            _fill(folder, release, found)
            if not _hindrance(folder, release):
                return ""
    minors = {python.minor for python in pythons}
    for python in downloadable():
        if python.minor not in minors and (found := release.wheels(python, pythons)):
            try:
                _make(folder, python)
            except UvError as error:
                reason = f"there are some for Python {python.minor}: install it, since uv cannot ({error})"
                return _build(folder, release, pythons, reason)
            _fill(folder, release, found)
            if not _hindrance(folder, release):
                return ""
    return _build(folder, release, pythons, "nor for one that uv can download")


def _install_offline(folder: Path, release: Release, pythons: Sequence[Python]) -> bool:
    """Whether the release could be installed with what is on this machine."""
    for python in pythons:
        if found := release.wheels_here(python):
            try:
                _make(folder, python)
                _fill(folder, release, found, offline=True)
            except NetworkError:  # uv's cache has the wheel's metadata but not the wheel
                continue
            if not _hindrance(folder, release):
                return True
    return False


def _build(folder: Path, release: Release, pythons: Sequence[Python], reason: str) -> str:
    have = ", ".join(python.minor for python in pythons) or "none"
    lacking = f"{release} has no wheels for a Python of this machine ({have}); {reason}"
    recipe = NEEDS[release.distribution].build
    fit = [python for python in pythons if recipe and parts(python.version) >= recipe.oldest(parts(release.version))]
    if recipe is None or not fit:
        nearest = release.nearest(pythons)
        instead = f"; the nearest that have some are {nearest}" if nearest else ""
        raise UnavailableError(f"{lacking}{instead}")
    python = fit[-1]
    if packages := build.missing(recipe, python):
        raise UnavailableError(f"{lacking}; to build it: apt-get install {' '.join(packages)}")
    _make(folder, python)
    try:
        built = build.install(folder, release, recipe)
    except NetworkError:
        raise
    except UvError as error:
        hindrance = build.reason(error)
    else:
        hindrance = _hindrance(folder, release)
    if hindrance:
        raise UnavailableError(f"{lacking}; its build fails with Python {python.minor}: {hindrance}")
    return built


def _make(folder: Path, python: Python) -> None:
    """Make an empty environment."""
    which = [python.path] if python.path else [f"cpython@{python.version}", "--managed-python"]
    uv("venv", "--quiet", "--clear", "--no-project", str(folder), "--python", *which)


def _fill(folder: Path, release: Release, pins: Sequence[str], offline: bool = False) -> None:
    """Install exactly these requirements. Files are copied, since links would break with uv's cache."""
    words = ["--python", str(folder), "--link-mode", "copy", "--no-deps", "--only-binary", ":all:", *release.sources]
    uv("pip", "install", "--quiet", *words, *pins, offline=offline, environment=ALONE)


def _hindrance(folder: Path, release: Release) -> str:
    """Why a release cannot be imported; empty if it can. Even a wheel for every Python may lack a part for this one.

    The import also makes Python write bytecode, which each process would otherwise compile: TensorFlow's takes seconds.
    """
    module = NEEDS[release.distribution].module
    # Exits at once: Pillow 6 miscounts references to True, and Python 3.11 aborts while cleaning up.
    words = [str(folder / "bin" / "python"), "-I", "-c", f"import {module}, os; os._exit(0)"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return (done.stderr.strip().splitlines() or ["it ends its process"])[-1] if done.returncode else ""


def _unreachable(release: Release, pythons: Sequence[Python], error: NetworkError) -> UnavailableError:
    """The error without a network: how to download wheels, for the newest of this machine's Pythons that has some."""
    minors = " ".join(python.minor for python in pythons)
    place = shlex.quote(str(wheels()))
    sources = NEEDS[release.distribution].sources
    packed = [each for each in release.requirements if each.partition("==")[0] in sources]
    ready = [each for each in (*release.requirements, *itertools.chain(*sources.values())) if each not in packed]
    fetch = f"pip download --only-binary :all: --python-version $v --dest {place} {shlex.join(ready)}"
    and_pack = f"; pip download --no-deps --no-binary :all: --dest {place} {shlex.join(packed)}" if packed else ""
    return UnavailableError(
        f"{release} cannot be downloaded ({error}): try again with a network, or elsewhere and copy the files: "
        f"for v in {minors}; do {fetch} && break; done{and_pack}"
    )
