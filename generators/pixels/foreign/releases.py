"""Which releases of a distribution can be had here: as a wheel, for one of this machine's Pythons.

uv is asked, which reads the same index by the same settings as when an environment is made; nothing is installed. Early
releases (`13.0.0rc1`) and yanked ones are never answered. Answers are kept as long as this process lives.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from generators.pixels.foreign.environment import at_hand, pythons, uv
from generators.pixels.foreign.needs import NEEDS, parts
from generators.registry import UnavailableError

# uv's exit status where there is nothing that would do; it has another where it could not find out.
_NONE = 1
_OFFLINE = "network was disabled"


@functools.cache
def newest_of_each_major(distribution: str) -> tuple[str, ...]:
    """The newest release of each major version, the oldest first. Raises UnavailableError where that is unknown."""
    found: dict[int, str] = {}
    for release in (release for some in _of_each_python(distribution, "") for release in some):
        if not any(parts(release)):
            continue  # 0.0.0 holds the name on an index, and nothing else
        major, *_ = parts(release)
        found[major] = max(found.get(major, release), release, key=parts)
    if not found:
        raise UnavailableError(f"{distribution} has no wheel for any Python of this machine")
    return tuple(found[major] for major in sorted(found))


@functools.cache
def nearest(distribution: str, version: str) -> str:
    """The release itself, or else the first later one that can be had. Raises UnavailableError where there is none.

    What is at hand needs no index; without an index, the first later one that is at hand is taken.
    """
    here = at_hand().get(distribution, [])
    if version in here:
        return version
    try:
        found = [release for some in _of_each_python(distribution, version) for release in some]
    except UnavailableError:
        found = [release for release in here if parts(release) > parts(version)]
        if not found:
            raise
    if not found:
        raise UnavailableError(f"{distribution} {version} has no wheel for any Python of this machine, nor a later one")
    return min(found, key=parts)


def _of_each_python(distribution: str, oldest: str) -> list[list[str]]:
    """For each Python, the newest release of each major version; or the first that is no older than the `oldest`."""
    found = pythons()
    if not found:
        raise UnavailableError("no Python is found on this machine")
    look = functools.partial(_first_from, distribution, oldest) if oldest else functools.partial(_majors, distribution)
    with ThreadPoolExecutor(len(found)) as pool:
        return [list(some) for some in pool.map(lambda python: list(look(python)), found)]


def _majors(distribution: str, python: str) -> Iterator[str]:
    bound = ""
    while (release := _resolve(distribution, bound, python)) and _complete(distribution, release, python):
        yield release  # and where what one needs has become too old for a Python, so it has for all before
        bound = f"<{parts(release)[0]}"


def _first_from(distribution: str, oldest: str, python: str) -> Iterator[str]:
    bound = f">={oldest}"
    while release := _resolve(distribution, bound, python, "--resolution", "lowest"):
        if _complete(distribution, release, python):
            yield release
            return
        bound = f">{release}"


def _complete(distribution: str, release: str, python: str) -> bool:
    """Whether what is installed beside a release can be had for the same Python."""
    return all(_resolve(requirement, "", python) for requirement in NEEDS[distribution].beside(parts(release)))


@functools.cache
def _resolve(distribution: str, bound: str, python: str, *how: str) -> str:
    """The release that uv would take; empty where there is none."""
    words = ("--python", python, "--only-binary", ":all:", "--prerelease", "disallow", "--no-deps", *how)
    done = uv("pip", "compile", "-q", "--no-header", "--no-annotate", *words, "-", given=f"{distribution}{bound}\n")
    if done.returncode == 0:
        return done.stdout.strip().partition("==")[2]
    if done.returncode != _NONE or _OFFLINE in done.stderr:
        raise UnavailableError(_unknown(distribution, done.stderr))
    return ""


def _unknown(distribution: str, said: str) -> str:
    reason = _OFFLINE if _OFFLINE in said else said.strip().partition("\n")[0].removeprefix("error: ")
    here = at_hand().get(distribution, [])
    known = f"one of those at hand here, {', '.join(here)}" if here else "none is at hand here"
    return f"which releases of {distribution} there are cannot be found out ({reason}): name a version; {known}"
