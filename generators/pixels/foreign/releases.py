"""The releases of a distribution that are available here: as a wheel for one of this machine's Pythons.

uv is asked, as when an environment is made, but nothing is installed. Pre-releases (`13.0.0rc1`) and yanked releases
are left out. Results are cached in this process.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from generators.method import UnavailableError
from generators.pixels.foreign import npm
from generators.pixels.foreign.environment import at_hand
from generators.pixels.foreign.needs import parts
from generators.pixels.foreign.pythons import Python, installed
from generators.pixels.foreign.resolution import NO_SOLUTION, Release, public, resolve
from generators.pixels.foreign.uv import NetworkError, UvError, refuse_offline


@functools.cache
def newest_of_each_major(distribution: str) -> tuple[str, ...]:
    """The newest release of each major version, the oldest first (for npm, of each minor version). Raises
    UnavailableError if that is unknown.
    """
    if distribution in npm.PACKAGES:
        try:
            return npm.newest_of_each_minor(distribution)
        except npm.NpmError as error:
            raise _unknown(distribution, error) from None
    try:
        found = _of_all_pythons(functools.partial(_majors, distribution))
    except UvError as error:
        raise _unknown(distribution, error) from None
    if not found:
        raise UnavailableError(f"{distribution} has no wheels for any Python of this machine")
    newest = {parts(release)[0]: release for release in sorted(found, key=parts)}
    return tuple(newest.values())


@functools.cache
def nearest(distribution: str, version: str) -> str:
    """The release itself, or else the first later one that is available. Raises UnavailableError if there is none.

    Installed releases need no network; without one, the first later one that is installed is taken.
    """
    here = at_hand().get(distribution, [])
    if version in here:
        return version
    try:
        found: Iterable[str] = _of_all_pythons(functools.partial(_first_from, distribution, version))
    except UvError as error:
        found = [release for release in here if parts(release) > parts(version)]
        if not found or not isinstance(error, NetworkError):
            raise _unknown(distribution, error) from None
    if not found:
        raise UnavailableError(
            f"neither {distribution} {version} nor a later one has wheels for a Python of this machine"
        )
    return min(found, key=parts)


def _of_all_pythons(look: Callable[[Python], Iterator[str]]) -> set[str]:
    """The releases found for any of this machine's Pythons. Raises UvError."""
    refuse_offline()
    with ThreadPoolExecutor() as pool:
        return {release for found in pool.map(lambda python: list(look(python)), installed()) for release in found}


def _majors(distribution: str, python: Python) -> Iterator[str]:
    """The newest release of each major version for a Python; without 0.0.0, which reserves the name on an index."""
    below = ""
    while (release := _one(python, f"{distribution}{below}")) and any(parts(release)):
        if not _is_complete(distribution, release, python):
            return  # its requirements have no wheels for a Python this new, nor do those of earlier releases
        yield release
        below = f"<{parts(release)[0]}"


def _first_from(distribution: str, version: str, python: Python) -> Iterator[str]:
    """The first release for a Python from a version on."""
    above = f">={version}"
    while release := _one(python, f"{distribution}{above}", "--resolution", "lowest"):
        if _is_complete(distribution, release, python):
            yield release
            return
        above = f">{release}"


def _is_complete(distribution: str, version: str, python: Python) -> bool:
    """Whether everything installed with a release is available for the same Python."""
    release = Release(distribution, version)
    return not release.extras or bool(release.wheels(python, [python]))


def _one(python: Python, requirement: str, *options: str) -> str:
    """The release that uv would choose; empty if there is none."""
    try:
        (found,) = resolve(python, requirement, options=("--no-deps", "--prerelease", "disallow", *options)).values()
    except UvError as error:
        if isinstance(error, NetworkError) or NO_SOLUTION not in error.output:
            raise
        return ""
    return public(found)


def _unknown(distribution: str, error: UvError | npm.NpmError) -> UnavailableError:
    here = at_hand().get(distribution, [])
    known = f"one of those installed here, {', '.join(here)}" if here else "none is installed here"
    return UnavailableError(f"the releases of {distribution} cannot be looked up ({error}): name a version; {known}")
