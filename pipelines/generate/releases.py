"""Prepares library releases that have their own environments: installs and starts each once, and checks that every node
has the same.

Reports in one line each what is being installed, what is slow to start, what is unavailable, and on which node.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import ModuleType

from generators.registry import LostError, Method, Release, UnavailableError
from pipelines.errors import RunError, UsageError
from pipelines.progress import say

# Seconds in which a node must install what it lacks: without a wheel, compiling takes minutes.
_PATIENCE = 1800.0

# A start that takes more seconds than this is reported.
_SLOW = 1.5

# The versions of each release, by name, as `Library.versions` returns them.
ReleaseVersions = Mapping[Release, Mapping[str, str]]


def releases_of(methods: Iterable[Method]) -> list[Release]:
    """The releases that methods come from, sorted by name."""
    libraries = {method.library for method in methods}
    return sorted((library for library in libraries if isinstance(library, Release)), key=lambda release: release.name)


def prepare(methods: Iterable[Method]) -> ReleaseVersions:
    """Install the missing releases that methods need, start each, and return their versions.

    Raises UsageError for one that is not available.
    """
    found = {}
    for release in releases_of(methods):
        if not release.ready:
            say(f"installing {release.name}, once on this machine")
        try:
            release.prepare()
            began = time.monotonic()
            found[release] = _versions_of(release)
        except UnavailableError as error:
            raise UsageError(str(error)) from None
        if (took := time.monotonic() - began) >= _SLOW:
            say(f"{release.name} takes {took:.0f} s to start in each worker")
    return found


def say_what_is_missing(methods: Iterable[Method]) -> None:
    """Report the releases that are not installed, without installing them."""
    for release in releases_of(methods):
        if not release.ready:
            say(f"{release.name} is not installed here yet: a run tries to install it")


def check_nodes(engine: ModuleType, releases: ReleaseVersions) -> None:
    """Have every node of the cluster prepare these releases. Raises UsageError for one that fails or differs."""
    if releases:
        say(f"preparing {', '.join(release.name for release in releases)} on every node")
        engine.check_nodes(problem_here, releases, patience=_PATIENCE)


def problem_here(releases: ReleaseVersions) -> str | None:
    """What is wrong with these releases on this machine, which installs the missing ones; None if nothing is."""
    for release, theirs in releases.items():
        try:
            mine = _versions_of(release)
        except UnavailableError as error:
            return str(error)
        if other := next((name for name in sorted({*mine, *theirs}) if mine.get(name) != theirs.get(name)), None):
            return (
                f"{release.name} differs from the driver's: {other} is {mine.get(other)} there and "
                f"{theirs.get(other)} here: install it from the same files, or copy its environment there"
            )
    return None


def check_here(methods: Iterable[Method]) -> None:
    """Install on this worker's machine the missing releases that methods need. Raises RunError."""
    for release in releases_of(methods):
        try:
            _versions_of(release)
        except UnavailableError as error:
            raise RunError(f"on a worker, {error}") from None


def _versions_of(release: Release) -> Mapping[str, str]:
    """A release's versions, after installing and starting it. Raises UnavailableError."""
    try:
        release.prepare()
        return release.versions()
    except LostError as error:
        raise UnavailableError(
            f"{release.name} does not start ({error}): remove its folder in SYSNOISE_CACHE to have it installed again, "
            "or choose another version"
        ) from None
