"""HTTP: three origins on loopback (the Hub, its CDN and Xet) that read and log requests, and answer them or fail."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import tests.hub.endpoints
import tests.hub.lfs
import tests.hub.xet  # noqa: F401 (these three add their routes)
from tests.hub.calls import ROUTES, Call, Reply, reply
from tests.hub.state import Hub, Origin, RefusalError, Request


class _DroppedError(ConnectionError):
    """A fault closes the connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        """Print nothing: requests are in `Hub.requests`."""

    def handle_request(self) -> None:
        hub = self.server.hub
        authorized = any(token in f"{self.path} {self.headers}" for token in hub.users)
        # Logged before it is answered, so that the log is complete when the client has its answer.
        self.log = Request(self.server.origin, self.command, self.path, authorized, self.headers.get("Range"))
        hub.requests.append(self.log)
        fault = hub.fault(self.command, self.path)
        if fault is None:
            return self.send(self.answer(self.body(None)), None)
        threading.Event().wait(fault.delay)
        try:
            body = self.body(fault.after if self.command in ("PUT", "POST") else None)
            if fault.status is None:
                self.send(self.answer(body), fault.after)
            else:
                self.send(Reply(b"", fault.status, fault.headers), None)
        except _DroppedError:
            self.hang_up(fault.reset)
            raise

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_request  # noqa: N815

    def hang_up(self, reset: bool) -> None:
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        else:
            self.connection.shutdown(socket.SHUT_RDWR)

    def body(self, drop: int | None) -> bytes:
        """The request's body, sized or chunked; with `drop`, the connection is dropped after that many bytes."""
        found = bytearray()
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        while size := self.piece(chunked, int(self.headers.get("Content-Length", 0)) - len(found)):
            found += self.rfile.read(size if drop is None else min(size, drop - len(found)))
            self.log.received = len(found)
            if drop is not None and len(found) >= drop:
                raise _DroppedError
            if chunked:
                self.rfile.readline()
        return bytes(found)

    def piece(self, chunked: bool, left: int) -> int:
        """The size of the body's next piece; 0 at its end."""
        if not chunked:
            return min(left, 65536)
        size = int(self.rfile.readline(), 16)
        if not size:
            self.rfile.readline()
        return size

    def answer(self, body: bytes) -> Reply:
        hub, asked = self.server.hub, urlsplit(self.path)
        try:
            for origin, method, pattern, endpoint in ROUTES:
                match = pattern.fullmatch(asked.path)
                if match and (origin, method) == (self.server.origin, self.command):
                    parts = {name: unquote(part) for name, part in match.groupdict().items() if part is not None}
                    query = parse_qs(asked.query)
                    user = self.user(asked.path, query)
                    return endpoint(hub, Call(method, asked.path, query, self.headers, body, user, parts))
            raise RefusalError(404, "Sorry, we can't find the page you are looking for.")
        except RefusalError as error:
            headers = {"X-Error-Message": error.message, **({"X-Error-Code": error.code} if error.code else {})}
            headers |= {name: value for name, value in error.fields.items() if name.startswith("X-")}
            return reply({"error": error.message, **error.fields}, error.status, **headers)

    def user(self, path: str, query: Mapping[str, list[str]]) -> str | None:
        """The user of a request to the Hub. As on S3, a signed URL takes no token; Xet has tokens of its own."""
        hub, authorization = self.server.hub, self.headers.get("Authorization")
        if self.server.origin == "hub":
            return hub.user(authorization)
        if self.server.origin == "cas":
            if authorization != f"Bearer {hub.signature('xet', '/'.join(path.split('/')[:3]))}":
                raise RefusalError(401, "Unauthorized")
        elif authorization is not None:
            raise RefusalError(400, "Only one auth mechanism allowed")
        elif query.get("signature") != [hub.signature(self.command, path)]:
            raise RefusalError(403, "SignatureDoesNotMatch")
        return None

    def send(self, answer: Reply, drop: int | None) -> None:
        body = b"" if self.command == "HEAD" else answer.body[:drop]
        self.log.status, self.log.sent = answer.status, len(body)
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        if drop is not None:
            raise _DroppedError


class _Server(ThreadingHTTPServer):
    def __init__(self, hub: Hub, origin: Origin) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub, self.origin = hub, origin

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print errors, except for connections that a fault or the client closed."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def serve() -> Iterator[Hub]:
    """A Hub that runs during the block."""
    hub = Hub()
    servers = [_Server(hub, "hub"), _Server(hub, "cdn"), _Server(hub, "cas")]
    hub.url, hub.cdn, hub.cas = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    for server in servers:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
