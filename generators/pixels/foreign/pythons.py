"""The Pythons that an environment can use: those on this machine, and those that uv can download."""

from __future__ import annotations

import json
from dataclasses import dataclass

from generators.pixels.foreign.uv import uv

# The oldest Python that the programs support.
_OLDEST = (3, 7)


@dataclass(frozen=True)
class Python:
    """A CPython: its full version, and its path; the path is empty if it is not on this machine."""

    version: str
    path: str = ""

    @property
    def minor(self) -> str:
        """The version that wheels are made for: `3.11`."""
        return ".".join(self.version.split(".")[:2])


def installed() -> list[Python]:
    """This machine's Pythons, one for each minor version, the newest first."""
    return _listed("--only-installed")


def downloadable() -> list[Python]:
    """The Pythons that uv knows where to download, likewise; it may still not be allowed or able to.

    The oldest is always included: uv no longer knows it, but users can install it.
    """
    found = _listed("--only-downloads")
    oldest = Python(".".join(map(str, _OLDEST)))
    return found if found and found[-1].minor == oldest.minor else [*found, oldest]


def _listed(which: str) -> list[Python]:
    found: dict[tuple[int, int], Python] = {}
    for python in json.loads(uv("python", "list", which, "--output-format", "json")):
        version = python["version_parts"]
        minor = version["major"], version["minor"]
        released = python["version"].replace(".", "").isdecimal()
        usual = python["implementation"] == "cpython" and python["variant"] == "default" and released
        if usual and minor >= _OLDEST:
            found.setdefault(minor, Python(python["version"], python["path"] or ""))
    return [found[minor] for minor in sorted(found, reverse=True)]
