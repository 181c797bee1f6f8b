"""Programs of this machine that one of ours feeds: found on the path, and installed by whoever owns the machine."""

from __future__ import annotations

import shutil
import subprocess

# The names of a program, the first that is found being taken, by the name of its Debian package.
_PROGRAMS = {"chromium": ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")}


def find(package: str) -> str | None:
    """Where a program is; None where it is not installed."""
    return next(filter(None, map(shutil.which, _PROGRAMS[package])), None)


def version(package: str) -> str:
    """The version that a program tells; a dash where it is not installed or tells none."""
    found = find(package)
    if found is None:
        return "–"
    done = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    return next((word for word in done.stdout.split() if word[0].isdigit()), "–")


def problem(package: str) -> str | None:
    """What to do to have a program, in one line; None where it is there."""
    return None if find(package) else f"{package} is not on this machine: apt-get install {package}"
