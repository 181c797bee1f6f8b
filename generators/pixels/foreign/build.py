"""Builds a release that has no wheel from source: the packages that this machine lacks for it, and the build itself.

The same compiler gives the same bytes: there is no debugging information, which contains folder names, and no optional
feature, which would depend on the headers that happen to be installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from generators.pixels.foreign.needs import Build, parts
from generators.pixels.foreign.pythons import Python
from generators.pixels.foreign.resolution import Release
from generators.pixels.foreign.uv import UvError, uv

_FLAGS = "-O2 -g0"
# How compilers and linkers report errors.
_ERROR = re.compile(r"^\s*(\S+: (?:fatal error|error|undefined reference|cannot find)\b.*)", re.MULTILINE)
# Prefixes of the lines that uv prints after the reason.
_AFTER = ("hint:", "note:")


def missing(build: Build, python: Python) -> list[str]:
    """The Debian packages that a build needs and this machine lacks."""
    programs = [package for program, package in build.programs.items() if not shutil.which(program)]
    if not _compiler():
        return ["gcc", "libc6-dev", *build.headers.values(), *programs]
    include = _output(python.path, "-c", "import sysconfig; print(sysconfig.get_path('include'))")
    headers = {"stdio.h": "libc6-dev", "Python.h": f"python{python.minor}-dev", **build.headers}
    return [package for header, package in headers.items() if not _has(header, include)] + programs


def install(folder: Path, release: Release, build: Build) -> str:
    """Build a release into the environment in a folder. Returns the compiler's version line. Raises UvError."""
    compiler = _compiler()
    settings = [f"--config-setting={setting}" for setting in build.settings(parts(release.version))]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write("\n".join(build.constraints))
        constraints.flush()
        # uv's cache may contain a build by another compiler.
        words = ["--no-cache", "--no-binary", release.distribution, "--build-constraints", constraints.name, *settings]
        uv(
            *("pip", "install", "--python", str(folder), *words, *release.requirements),
            environment={
                "CC": compiler,
                "CFLAGS": f"{os.environ.get('CFLAGS', '')} {_FLAGS}",
                "LDFLAGS": f"{os.environ.get('LDFLAGS', '')} -L/usr/lib/{_output(compiler, '-print-multiarch')}",
                "MAX_CONCURRENCY": str(os.cpu_count()),  # for Pillow, which compiles one file at a time otherwise
            },
        )
    return _output(compiler, "--version").splitlines()[0]


def reason(error: UvError) -> str:
    """Why a build failed, in one line: the compiler's first error, or else the last line of output."""
    if found := _ERROR.search(error.output):
        return found[1]
    lines = [line.strip() for line in error.output.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if not line.startswith(_AFTER)), str(error))


def _compiler() -> str:
    """The C compiler to use; empty if there is none."""
    return next(filter(None, map(shutil.which, (os.environ.get("CC", ""), "gcc", "cc"))), "")


def _has(header: str, include: str) -> bool:
    flags = os.environ.get("CFLAGS", "").split()
    words = [_compiler(), *flags, f"-I{include}", "-include", header, "-E", "-xc", os.devnull]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def _output(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
