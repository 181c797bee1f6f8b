"""Programs installed on this machine that a program here drives: found on the path, and never installed by us."""

from __future__ import annotations

import shutil
import subprocess

# The possible names of a program, in order of preference, by its Debian package.
_PROGRAMS = {"chromium": ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")}


def find(package: str) -> str | None:
    """The path of a program; None if it is not installed."""
    return next(filter(None, map(shutil.which, _PROGRAMS[package])), None)


def version(package: str) -> str:
    """The version that a program reports; a dash if there is none."""
    found = find(package)
    if found is None:
        return "–"
    done = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    return next((word for word in done.stdout.split() if word[0].isdigit()), "–")


def problem(package: str) -> str | None:
    """How to install a program, in one line; None if it is installed."""
    return None if find(package) else f"{package} is not installed on this machine: apt-get install {package}"
