"""Stand-ins for environments that exist."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from generators.pixels.foreign.environment import About


def put(cache: Path, *releases: str) -> None:
    """Put stand-ins for releases such as `pillow-6.2.1` into a cache: a Python, and no packages."""
    for release in releases:
        folder = cache / "environments" / release
        (folder / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
        (folder / "bin").mkdir()
        (folder / "bin" / "python").symlink_to(sys.executable)
        about = About(python="3.11", distributions={}, built="", sha256="0" * 64, entries=[], libraries={})
        (folder / "environment.json").write_text(json.dumps(asdict(about)))
