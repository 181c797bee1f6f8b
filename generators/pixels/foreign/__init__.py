"""Another version of a library, in a process of its own: where it comes from, and how it is called.

`releases` knows which there are, and `environment` makes, once on a machine, an environment that has one. `process`
runs `programs` in it, and `memory` is where images travel. A process is started by its first call and lives as long as
this one.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from generators.geometry import MAX_PIXELS
from generators.pixels.foreign.environment import at_hand, environment, is_made
from generators.pixels.foreign.process import Process
from generators.pixels.foreign.releases import nearest, newest_of_each_major
from generators.registry import Image

__all__ = ["at_hand", "call", "environment", "is_made", "nearest", "newest_of_each_major", "versions"]

_SERVE = Path(__file__).with_name("programs") / "serve.py"


def call(program: str, distribution: str, version: str, function: str, *arguments: Any, **options: Any) -> Image:
    """What a function of a program makes of its arguments, in the environment of a release.

    Raises ValueError with the library's reason, MemoryError, LostError and UnavailableError.
    """
    return _process(program, distribution, version, os.getpid()).call(function, *arguments, **options)


def versions(program: str, distribution: str, version: str) -> dict[str, str]:
    """What decides a release's pixels: its version and its codecs' by its own account, Python's, and what was
    installed, or built by which compiler.
    """
    found = _process(program, distribution, version, os.getpid()).versions()
    about = environment(distribution, version).about
    library = next(iter(found)).partition("/")[0]
    beside = {name: of for name, of in about.distributions.items() if name != distribution}
    told = {"Python": about.python, **beside, "sha256": about.sha256, **({"built": about.built} if about.built else {})}
    return {**{f"{library}/{name}": of for name, of in told.items()}, **found}


@functools.cache
def _process(program: str, distribution: str, version: str, parent: int) -> Process:
    """A process for each release and process of ours: a fork has none of its parent's."""
    python = environment(distribution, version).python
    return Process([str(python), "-I", "-B", str(_SERVE), program, str(parent), str(MAX_PIXELS)])
