"""Runs commands as forks of a process that has already imported their modules: imports are most of a short command.

Each command has its own process, with its own arguments, folder, environment and streams, as if it had been started.
Its workers are forked as well (`here`), unless it joins a cluster.
"""

from __future__ import annotations

import gc
import importlib
import json
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

# Not huggingface_hub, which reads its environment when it is imported.
_IMPORTS = (
    *("jinja2.ext", "matplotlib.figure", "pandas", "pyarrow.parquet", "scipy.cluster.hierarchy", "scipy.stats"),
    *("PIL.PngImagePlugin", "PIL.WebPImagePlugin", "sklearn.metrics"),
    *("pipelines.evaluate.run", "pipelines.run", "pipelines.verify.run", "tests.here"),
)
# The variables that Python reads when it starts, or these libraries when they are imported.
_READ = ("LANG", "LC_", "MPL", "OMP_", "OPENBLAS_", "PYTHON", "RAY_")
_READ_LATER = ("RAY_ADDRESS",)


class Forks:
    """Runs scripts. Server processes start when needed, one for each combination of the `_READ` variables."""

    def __init__(self) -> None:
        self._servers: dict[frozenset[tuple[str, str]], subprocess.Popen[str]] = {}

    def run(self, words: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a script with its arguments."""
        server = self._server(environment)
        assert server.stdin
        assert server.stdout
        with tempfile.TemporaryDirectory() as streams:
            asked = {"words": words, "cwd": str(cwd), "environment": dict(environment), "streams": streams}
            print(json.dumps(asked), file=server.stdin, flush=True)
            status = int(server.stdout.readline())
            stdout, stderr = (Path(streams, name).read_text() for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess(words, status, stdout, stderr)

    def _server(self, environment: Mapping[str, str]) -> subprocess.Popen[str]:
        read = frozenset(
            (name, value) for name, value in environment.items() if name.startswith(_READ) and name not in _READ_LATER
        )
        if read not in self._servers:
            self._servers[read] = subprocess.Popen(
                [sys.executable, __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        return self._servers[read]

    def close(self) -> None:
        """End all servers."""
        for server in self._servers.values():
            server.communicate()


def _serve(asked: Iterable[str]) -> None:
    """Run a script for each line, and print its exit status."""
    before = set(os.environ)
    for name in _IMPORTS:
        importlib.import_module(name)
    imported = {name: os.environ[name] for name in os.environ.keys() - before}
    gc.collect()
    gc.freeze()  # a collection in a fork would copy the memory that it shares
    for line in asked:
        fork = multiprocessing.get_context("fork").Process(
            target=_run, kwargs={"imported": imported, **json.loads(line)}
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # about forking with threads, which are idle here
            fork.start()
        fork.join()
        print(fork.exitcode, flush=True)


def _run(
    words: Sequence[str], cwd: str, environment: Mapping[str, str], streams: str, imported: Mapping[str, str]
) -> None:
    """Set up the process as if the script had been started, and run it.

    `imported` are the variables that imports have added to the environment.
    """
    os.environ.clear()
    os.environ.update(imported)
    os.environ.update(environment)
    os.chdir(cwd)
    for stream, path in enumerate((os.devnull, f"{streams}/stdout", f"{streams}/stderr")):
        file = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(file, stream)
        os.close(file)
    sys.argv = list(words)
    sys.path[0] = str(Path(words[0]).parent)
    importlib.import_module("tests.here").install()
    runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parent.parent)
    _serve(sys.stdin)
