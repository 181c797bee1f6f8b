"""A release, and its wheels for a Python.

Refuses what fails for any Python: a release that does not exist or is spelled differently, and settings that uv cannot
work with.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from generators.method import UnavailableError
from generators.pixels.foreign.needs import NEEDS, parts
from generators.pixels.foreign.pythons import Python
from generators.pixels.foreign.uv import NetworkError, UvError, uv

# How uv's output begins if it could search but found nothing; with any other output, every search would fail.
NO_SOLUTION = "No solution found"
# Packages that are built here must not find this machine's libraries to compile against.
ALONE = {"PKG_CONFIG": "false"}


@dataclass(frozen=True)
class Release:
    """A distribution and a version of it, as the user spelled it."""

    distribution: str
    version: str

    def __str__(self) -> str:
        """The release's name in messages."""
        return f"{self.distribution} {self.version}"

    @property
    def extras(self) -> tuple[str, ...]:
        """The requirements to install with it."""
        return NEEDS[self.distribution].extras(parts(self.version))

    @property
    def requirements(self) -> tuple[str, ...]:
        """All requirements."""
        return f"{self.distribution}=={self.version}", *self.extras

    @property
    def sources(self) -> tuple[str, ...]:
        """uv's options for requirements without wheels. A meaningless setting separates these builds in uv's cache from
        others, which may be compiled against this machine's libraries.
        """
        names = NEEDS[self.distribution].sources
        return tuple(
            word for name in names for word in ("--no-binary", name, "--config-settings-package", f"{name}:alone=yes")
        )

    def wheels(self, python: Python, pythons: Sequence[Python]) -> tuple[str, ...]:
        """Exact requirements for which there are wheels for a Python; none if there are no such wheels.

        Raises NetworkError, and UnavailableError if there are none for any Python; it suggests releases that have some
        for `pythons`.
        """
        try:
            versions = resolve(python, *self.requirements, options=self.sources)
        except NetworkError:
            raise
        except UvError as error:
            self._refuse(error, pythons)
            return ()
        self._check_spelling(versions[self.distribution])
        return _pins(versions)

    def wheels_here(self, python: Python) -> tuple[str, ...]:
        """The same, from wheels that need no network."""
        try:
            return _pins(resolve(python, *self.requirements, options=self.sources, offline=True))
        except UvError:
            return ()

    def nearest(self, pythons: Sequence[Python]) -> str:
        """The releases before and after this one that have wheels for one of these Pythons, as in `1.2 and 1.4`."""
        with ThreadPoolExecutor() as pool:
            before = pool.map(self._newest_before, pythons)
            after = pool.map(self._oldest_after, pythons)
            found = [max(filter(None, before), key=parts, default=""), min(filter(None, after), key=parts, default="")]
        return " and ".join(filter(None, found))

    def _newest_before(self, python: Python) -> str:
        return self._one(python, f"{self.distribution}<{self.version}", "highest")

    def _oldest_after(self, python: Python) -> str:
        return self._one(python, f"{self.distribution}>{self.version}", "lowest-direct")

    def _one(self, python: Python, requirement: str, resolution: str) -> str:
        try:
            found = resolve(python, requirement, options=("--resolution", resolution))
        except UvError:
            return ""
        return public(found[self.distribution])

    def _refuse(self, error: UvError, pythons: Sequence[Python]) -> None:
        """Raises UnavailableError, unless only wheels are missing."""
        if NO_SOLUTION not in error.output:
            raise UnavailableError(f"uv cannot look for {self}: {error}") from None
        if f"{self.distribution} was not found" in error.output:
            raise UnavailableError(f"{self} is not in uv's package sources: {error}") from None
        if f"there is no version of {self.distribution}==" in error.output:
            nearest = self.nearest(pythons)
            instead = f": the nearest available are {nearest}" if nearest else ""
            raise UnavailableError(f"there is no release {self}{instead}") from None
        if found := re.search(rf"{self.distribution}==(\S+) has no", error.output):
            self._check_spelling(found[1])

    def _check_spelling(self, version: str) -> None:
        if public(version) != self.version:
            raise UnavailableError(f"{self} is published as {version}: write that")


def public(version: str) -> str:
    """A version without its local part, which tells how a wheel was built (`0.28.0+cpu`: PEP 440)."""
    return version.partition("+")[0]


def resolve(python: Python, *requirements: str, options: Sequence[str] = (), offline: bool = False) -> dict[str, str]:
    """Versions, by name, that meet requirements with wheels for a Python, installed or not. Raises UvError."""
    which = [python.path] if python.path else [sys.executable, "--python-version", python.version]
    plain = ("--quiet", "--no-header", "--no-annotate", "--only-binary", ":all:")
    words = ["pip", "compile", "-", *plain, *options, "--python", *which]
    lines = uv(*words, given="\n".join(requirements), offline=offline, environment=ALONE).splitlines()
    return {name: version for name, _, version in (line.partition("==") for line in lines)}


def _pins(versions: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}=={version}" for name, version in versions.items())
