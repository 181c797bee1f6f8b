"""A release, installed: with which Python, from wheels or from source, and what to do where neither can be had.

The newest Python of this machine that there are wheels for; else the newest that uv can download; else a build, with
the oldest Python, which is the nearest to the release's time. Without a network: what uv has kept, or was put into the
cache's `wheels`.
"""

from __future__ import annotations

import itertools
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from generators.pixels.foreign import build
from generators.pixels.foreign.cache import wheels
from generators.pixels.foreign.needs import NEEDS, parts
from generators.pixels.foreign.pythons import Python, downloadable, installed
from generators.pixels.foreign.resolution import ALONE, Release
from generators.pixels.foreign.uv import NetworkError, UvError, refuse_offline, uv
from generators.registry import UnavailableError


def install(folder: Path, release: Release) -> str:
    """Make an environment with a release in a folder; what compiled it, empty for wheels. Raises UnavailableError."""
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
                reason = f"there are for Python {python.minor}: install it, since uv cannot ({error})"
                return _build(folder, release, pythons, reason)
            _fill(folder, release, found)
            if not _hindrance(folder, release):
                return ""
    return _build(folder, release, pythons, "nor for one that uv can download")


def _install_offline(folder: Path, release: Release, pythons: Sequence[Python]) -> bool:
    """Whether what is on this machine was enough."""
    for python in pythons:
        if found := release.wheels_here(python):
            try:
                _make(folder, python)
                _fill(folder, release, found, offline=True)
            except NetworkError:  # uv has kept what it knows of a wheel, and not the wheel
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
        instead = f"; the nearest that have are {nearest}" if nearest else ""
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
    """An empty environment."""
    which = [python.path] if python.path else [f"cpython@{python.version}", "--managed-python"]
    uv("venv", "--quiet", "--clear", "--no-project", str(folder), "--python", *which)


def _fill(folder: Path, release: Release, pins: Sequence[str], offline: bool = False) -> None:
    """Install what was found, and nothing else: copied, since a link's fate is that of the file in uv's cache."""
    words = ["--python", str(folder), "--link-mode", "copy", "--no-deps", "--only-binary", ":all:", *release.sources]
    uv("pip", "install", "--quiet", *words, *pins, offline=offline, environment=ALONE)


def _hindrance(folder: Path, release: Release) -> str:
    """Why a release cannot be imported; empty where it can. A wheel for every Python may lack its part for this one.

    Python leaves here what it has compiled, which each process would do anew: TensorFlow's takes seconds.
    """
    module = NEEDS[release.distribution].module
    # Left at once: Pillow 6 counts references to True wrongly, and aborts where Python 3.11 cleans up.
    words = [str(folder / "bin" / "python"), "-I", "-c", f"import {module}, os; os._exit(0)"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return (done.stderr.strip().splitlines() or ["it ends its process"])[-1] if done.returncode else ""


def _unreachable(release: Release, pythons: Sequence[Python], error: NetworkError) -> UnavailableError:
    """What is said without a network: how wheels get here, for the newest of this machine's Pythons that has some."""
    minors = " ".join(python.minor for python in pythons)
    place = shlex.quote(str(wheels()))
    sources = NEEDS[release.distribution].sources
    packed = [each for each in release.requirements if each.partition("==")[0] in sources]
    ready = [each for each in (*release.requirements, *itertools.chain(*sources.values())) if each not in packed]
    fetch = f"pip download --only-binary :all: --python-version $v --dest {place} {shlex.join(ready)}"
    beside = f"; pip download --no-deps --no-binary :all: --dest {place} {shlex.join(packed)}" if packed else ""
    return UnavailableError(
        f"{release} cannot be fetched ({error}): with a network, or elsewhere for this machine: "
        f"for v in {minors}; do {fetch} && break; done{beside}"
    )
