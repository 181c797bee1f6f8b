"""Libraries in environments of their own, before work is done with them: installed, started once, and the same on
every node.

Said in one line each: what is being installed, what takes seconds to start, what cannot be had, and on which node.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import ModuleType

from generators.registry import LostError, Method, Release, UnavailableError
from pipelines.errors import RunError, UsageError
from pipelines.progress import say

# Seconds in which a node installs what it lacks: where there is no wheel, compilers take minutes.
_PATIENCE = 1800.0

# Seconds to start that a user would wonder about.
_SLOW = 1.5

# The versions of each release, by name, as `Library.versions` tells them.
Told = Mapping[Release, Mapping[str, str]]


def releases_of(methods: Iterable[Method]) -> list[Release]:
    """The releases that methods come from, in order of their names."""
    libraries = {method.library for method in methods}
    return sorted((library for library in libraries if isinstance(library, Release)), key=lambda release: release.name)


def prepare(methods: Iterable[Method]) -> Told:
    """Install the releases that methods need and that are not there, and start each; what they tell.

    Raises UsageError for one that cannot be had.
    """
    told = {}
    for release in releases_of(methods):
        if not release.ready:
            say(f"installing {release.name}, once on this machine")
        try:
            release.prepare()
            began = time.monotonic()
            told[release] = _told(release)
        except UnavailableError as error:
            raise UsageError(str(error)) from None
        if (took := time.monotonic() - began) >= _SLOW:
            say(f"{release.name} takes {took:.0f} s to start, once a worker")
    return told


def say_what_is_lacking(methods: Iterable[Method]) -> None:
    """Say which releases are not there, where none is to be installed."""
    for release in releases_of(methods):
        if not release.ready:
            say(f"{release.name} is not installed here yet: whether it can be had shows when it is")


def check_nodes(engine: ModuleType, told: Told) -> None:
    """Have every node of the cluster prepare these releases. Raises UsageError for one that cannot, or has others."""
    if told:
        say(f"preparing {', '.join(release.name for release in told)} on every node")
        engine.check_nodes(problem_here, told, patience=_PATIENCE)


def problem_here(told: Told) -> str | None:
    """What is wrong with these releases on this machine, which makes those that it lacks; None if nothing is."""
    for release, theirs in told.items():
        try:
            mine = _told(release)
        except UnavailableError as error:
            return str(error)
        if other := next((name for name in sorted({*mine, *theirs}) if mine.get(name) != theirs.get(name)), None):
            return (
                f"{release.name} is not as here: {other} is {mine.get(other)} there and {theirs.get(other)} here: "
                "install it from the same files, or copy its environment there"
            )
    return None


def check_here(methods: Iterable[Method]) -> None:
    """Have this worker's machine make what it lacks of the releases that methods need. Raises RunError."""
    for release in releases_of(methods):
        try:
            _told(release)
        except UnavailableError as error:
            raise RunError(f"on a worker, {error}") from None


def _told(release: Release) -> Mapping[str, str]:
    """What a release tells of itself once it has been made and started. Raises UnavailableError."""
    try:
        release.prepare()
        return release.versions()
    except LostError as error:
        raise UnavailableError(
            f"{release.name} does not start ({error}): remove its folder in SYSNOISE_CACHE to have it made anew, or "
            "choose another version"
        ) from None
