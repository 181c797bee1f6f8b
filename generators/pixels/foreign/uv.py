"""uv, which makes environments: run with its user's configuration; and what its failures mean.

It looks for Pythons and packages where its own settings say; if they name no package sources, pip's do. The cache's
`wheels` folder is always used.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from generators.method import UnavailableError
from generators.pixels.foreign.cache import cache, full, pythons, reports_full, wheels
from generators.pixels.foreign.pip import settings_for_uv

_NO_UV = "needs uv, which is not installed: pip install -r requirements.txt"
# uv's output when it cannot reach what it wants to download, or is messages not to.
_UNREACHABLE = re.compile(
    r"error sending request|[Ff]ailed to (fetch|download)|network was disabled|timed out|error decoding response"
)


class UvError(Exception):
    """uv failed; `output` is its full output."""

    def __init__(self, output: str) -> None:
        super().__init__(output)
        self.output = output

    def __str__(self) -> str:
        """uv's first error and its deepest cause, in one line."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        messages = [
            line.partition(": ")[2].rstrip(".") for line in lines if line.startswith(("error: ", "cause: ", "hint: "))
        ]
        messages = [line for line in messages if not line.startswith("Request failed after")] or [
            self.output.strip() or "uv has failed"
        ]
        return f"{messages[0]} ({messages[-1]})" if messages[1:] else messages[0]


class NetworkError(UvError):
    """uv could not reach what it was to download."""


def refuse_offline() -> None:
    """Raises NetworkError if uv's user forbids the network: uv's output would then not mean what it says."""
    if os.environ.get("UV_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise NetworkError("UV_OFFLINE is set")


def uv(*words: str, offline: bool = False, given: str = "", environment: Mapping[str, str] | None = None) -> str:
    """uv's standard output. Raises UvError, NetworkError, and UnavailableError if retrying does not help.

    `given` is its standard input; `environment` adds to its environment variables.
    """
    command = [_program(), *words, *(["--offline"] if offline else [])]
    surroundings = {**_surroundings(), **(environment or {})}
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, env=surroundings)
    if done.returncode == 0:
        return done.stdout
    if reports_full(done.stderr):
        raise full()
    raise (NetworkError if _UNREACHABLE.search(done.stderr) else UvError)(done.stderr)


def _program() -> str:
    try:
        from uv import find_uv_bin

        return find_uv_bin()
    except (ImportError, FileNotFoundError):
        raise UnavailableError(_NO_UV) from None


def _surroundings() -> dict[str, str]:
    """Our environment variables, plus what uv could not know: Pythons that are not on the path, and package sources."""
    ours = {
        "UV_PYTHON_INSTALL_DIR": str(pythons()),
        "UV_HTTP_RETRIES": "1",  # a machine without a network should fail soon
    }
    if "SYSNOISE_CACHE" in os.environ:  # it may be the only writable folder
        ours["UV_CACHE_DIR"] = str(cache() / "uv")
    found = {**ours, **settings_for_uv(), **os.environ}
    if wheels().is_dir():
        found["UV_FIND_LINKS"] = ",".join(filter(None, (str(wheels()), found.get("UV_FIND_LINKS"))))
    return {**found, "PATH": os.pathsep.join([*_folders_of_pythons(), os.environ.get("PATH", os.defpath)])}


def _folders_of_pythons() -> list[str]:
    """Folders of Pythons that are not on the path: that of the running Python, pyenv's (its shims only run the selected
    version), and those that uv has downloaded for its user.
    """
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    found = [Path(sys.base_prefix, "bin"), *sorted(Path(pyenv).glob("versions/3.*/bin"))]
    return [str(path) for path in (*found, *sorted(Path(data).glob("uv/python/cpython-3.*/bin")))]
