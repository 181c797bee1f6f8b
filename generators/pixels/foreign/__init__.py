"""Other versions of a library, each in its own process: how to get one, and how to call it.

`releases` lists the available releases, and `environment` makes an environment for one, once per machine. `process`
runs `programs` in it, and `memory` passes images back and forth. A process starts with its first call, and lives as
long as this one.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from generators.geometry import MAX_PIXELS
from generators.method import UnavailableError
from generators.pixels.foreign import machine, npm
from generators.pixels.foreign.environment import at_hand, environment, is_made
from generators.pixels.foreign.needs import NEEDS
from generators.pixels.foreign.process import Process
from generators.pixels.foreign.releases import nearest, newest_of_each_major

__all__ = ["at_hand", "call", "is_ready", "nearest", "newest_of_each_major", "prepare", "problem", "versions"]

_PROGRAMS = Path(__file__).with_name("programs")


def call(program: str, distribution: str, version: str, function: str, *arguments: Any, **options: Any) -> NDArray[Any]:
    """Call a function of a program in the environment of a release.

    Without a version, the function drives the program of that name that is installed on this machine. Raises ValueError
    with the library's reason, MemoryError, LostError and UnavailableError.
    """
    return _process(program, distribution, version, os.getpid()).call(function, *arguments, **options)


def versions(program: str, distribution: str, version: str) -> dict[str, str]:
    """Everything that determines a release's pixels: the versions that it and its codecs report, Python's, and what was
    installed, or which compiler built it.
    """
    found = _process(program, distribution, version, os.getpid()).versions()
    if not version:
        return found
    about = environment(distribution, version).about
    library = next(iter(found)).partition("/")[0]
    affecting = {name: of for name, of in about.distributions.items() if _affects_pixels(distribution, name)}
    details = {"Python": about.python, **affecting, "sha256": about.sha256, "built": about.built}
    return {**{f"{library}/{name}": of for name, of in details.items() if of}, **found}


def is_ready(distribution: str, version: str) -> bool:
    """Whether the environment of a release, or the program on this machine, exists."""
    return is_made(distribution, version) if version else machine.find(distribution) is not None


def prepare(distribution: str, version: str) -> None:
    """Make the environment of a release unless it exists. Raises UnavailableError."""
    if version:
        environment(distribution, version)
    elif lacking := machine.problem(distribution):
        raise UnavailableError(lacking)


def problem(distribution: str, version: str) -> str | None:
    """What has to be installed on this machine first, in one line; None if nothing."""
    return None if version else machine.problem(distribution)


def _affects_pixels(distribution: str, name: str) -> bool:
    """Whether a distribution that was installed with a release belongs in its versions."""
    affecting = NEEDS[distribution].affecting if distribution in NEEDS else ()
    return name != distribution and (affecting is None or name in affecting)


@functools.cache
def _process(program: str, distribution: str, version: str, parent: int) -> Process:
    """The process for a release. There is one for each process of ours, since a fork cannot use its parent's."""
    who = (str(parent), str(MAX_PIXELS))
    serve = ("-I", "-B", str(_PROGRAMS / "serve.py"), program, *who)
    if not version:
        prepare(distribution, version)
        return Process([sys.executable, *serve, str(machine.find(distribution))])
    made = environment(distribution, version)
    if distribution in npm.PACKAGES:
        return Process([str(made.node), str(_PROGRAMS / f"{program}.cjs"), *who, str(made.packages)])
    return Process([str(made.python), *serve])
