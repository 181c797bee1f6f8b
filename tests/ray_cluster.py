"""Ray clusters for tests: `ray start` on loopback, with a token, in process groups that die like machines."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests import ROOT
from tests.forks import Forks
from tests.store.server import free_ports

RAY = str(Path(sys.executable).with_name("ray"))
_SMALL = (sys.executable, str(ROOT / "tests" / "ray_node.py"))


def wait_for(
    condition: Callable[[], object], process: subprocess.Popen[Any] | None = None, seconds: float = 120
) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, "the process ended too early"
        assert time.monotonic() < end, f"the condition did not hold within {seconds:.0f} s"
        time.sleep(0.01)


def _hosts() -> Iterator[str]:
    """Loopback addresses for the nodes of a cluster: two of their bytes are random."""
    high, low = secrets.token_bytes(2)
    return (f"127.{high}.{low}.{node}" for node in itertools.count(2))


@dataclass
class Cluster:
    """A head, and nodes that join and leave. `environment` is what its clients and workers need.

    Its nodes have only the processes that a run needs, unless they are started as `ray start` starts them (`whole`).
    A whole cluster has runtime environments and a dashboard, to which jobs are submitted, and costs several times as
    much.

    Each node has its own loopback address, which no other cluster on this machine uses, since some of Ray's ports have
    fixed numbers. (Given 127.0.0.1, Ray would use the machine's address in the network instead.)
    """

    environment: dict[str, str]
    folder: str
    forks: Forks
    whole: bool = False
    ports: list[int] = field(default_factory=lambda: free_ports(2))
    hosts: Iterator[str] = field(default_factory=_hosts)
    head: str = ""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{self.head}:{self.ports[0]}"

    @property
    def dashboard(self) -> str:
        return f"http://127.0.0.1:{self.ports[1]}"

    def start(self, *more: str) -> None:
        head = ["--head", f"--port={self.ports[0]}", f"--temp-dir={self.folder}", "--no-monitor"]
        head += [f"--include-dashboard={self.whole}", "--dashboard-host=127.0.0.1", f"--dashboard-port={self.ports[1]}"]
        self._start((), *head, *more)

    def add(self, *more: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """Start a node; `prefix` is a command to run it with."""
        return self._start(prefix, f"--address={self.address}", *more)

    def _start(self, prefix: tuple[str, ...], *words: str) -> subprocess.Popen[bytes]:
        host = next(self.hosts)
        self.head = self.head or host
        # Ray's default is a fixed port, which another Ray on this machine may use.
        common = [f"--node-ip-address={host}", f"--dashboard-agent-listen-port={free_ports(1)[0]}"]
        common += ["--object-store-memory=80000000", "--disable-usage-stats", "--block"]
        common += ["--include-log-monitor=false"]
        path = Path(self.folder, f"{host}.log")
        with path.open("w") as log:
            process = subprocess.Popen(
                [*prefix, *([RAY] if self.whole else _SMALL), "start", *words, *common],
                env=self.environment | {"PYTHONUNBUFFERED": "1"},
                stdout=log,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.processes.append(process)
        wait_for(lambda: "Ray runtime started" in path.read_text(), process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Lose a machine: kill everything that runs on it at once."""
        node = psutil.Process(process.pid)
        for one in (*node.children(recursive=True), node):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGKILL)
        process.wait()
        self.processes.remove(process)

    def ask(self, path: str) -> Any:
        """The dashboard's answer, as JSON."""
        token = {"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"}
        with urllib.request.urlopen(urllib.request.Request(self.dashboard + path, headers=token)) as answer:
            return json.loads(answer.read())

    def begin(self, *words: object) -> subprocess.Popen[str]:
        """Start generate.py on the cluster."""
        return subprocess.Popen(
            [sys.executable, "generate.py", *map(str, words), "--address", self.address],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Run generate.py on the cluster, as a fork."""
        script = [str(ROOT / "generate.py"), *map(str, words), "--address", self.address]
        return self.forks.run(script, ROOT, self.environment)


@contextlib.contextmanager
def cluster(forks: Forks, *head: str, whole: bool = False, **variables: str) -> Iterator[Cluster]:
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), **variables}
    # `python` in a job is this environment's, as on a machine where the environment is active.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    # Ray's sockets are below this folder, and a socket's path is at most 107 bytes long.
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        made = Cluster(environment, folder, forks, whole)
        try:
            made.start(*head)
            yield made
        finally:
            for process in list(made.processes):
                made.kill(process)  # on a polite request, Ray would first wait for its work to be done elsewhere
