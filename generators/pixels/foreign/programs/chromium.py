"""Chromium: draws an image on a canvas at its own size, and a canvas on another canvas of a different size.

Drives one headless browser through a page (chromium.js) over a WebSocket. The browser has no GPU, no network and a
fresh profile, and no one else can connect. It never outlives this process, however that ends; and this process exits
when the page does, so that its parent starts it again.

It has no environment of its own: the project's Python runs it. `serve.py chromium PARENT MOST_PIXELS BROWSER`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import re
import secrets
import select
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

Given = tuple[int, int, memoryview]
Made = tuple[int, int, bytes]
Bytes = bytes | memoryview

_FLAGS = (
    "--headless",
    "--disable-gpu",
    "--force-color-profile=srgb",
    "--disable-dev-shm-usage",  # containers have only 64 MB of it, and a browser that needs more crashes
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
)

# A shell that runs the browser. When this process ends, the shell's standard input closes; it then kills the browser
# and removes its folder. Only the browser has the shell's standard output, which therefore closes when the browser
# ends.
_JANITOR = """
folder=$1; shift
setsid "$@" < /dev/null & browser=$!
exec > /dev/null
cat
kill -9 "-$browser" "$browser" 2> /dev/null
wait
until rm -rf "$folder"; do sleep 0.1; done
"""

# RFC 6455, section 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _BINARY = 1, 2
# Timeout for authentication by whoever connects, in seconds.
_TIMEOUT = 10.0


def decode(data: memoryview) -> Made:
    """`createImageBitmap` of the file, `drawImage` on an sRGB canvas of its size, `getImageData`.

    The pixels equal those of a drawn `<img>`, with two exceptions: a truncated file is refused, where an `<img>` shows
    part of it; and 16-bit PNG values multiplied by alpha may be rounded the other way. SVG is refused. Profiles (and
    gAMA in PNG) are applied. Of an animation, the first frame is taken. A canvas stores colours multiplied by alpha:
    the more transparent they are, the coarser they come back, and fully transparent ones become black. A canvas rotates
    images by their EXIF orientation, and in Chromium 156 neither `imageOrientation` nor CSS prevents it; the EXIF of
    JPEG and PNG is therefore hidden from the browser. AVIF's own rotation (`irot`) is applied.
    """
    return _browser().call(_without_exif(data), "decode", int(sys.argv[3]))


def resize(image: Given, width: int, height: int) -> Made:
    """`drawImage` from a canvas to one of another size with the default smoothing (`imageSmoothingQuality` low).

    It is bilinear without antialiasing, like OpenCV's. A drawn `<img>` at less than half its size is halved first,
    whatever the quality; that would be another method.
    """
    rows, columns, pixels = image
    return _browser().call(pixels, "resize", rows, columns, height, width)


def versions() -> dict[str, str]:
    """The version that the browser reports, including its vendor's."""
    _browser()
    output = subprocess.run([sys.argv[4], "--version"], capture_output=True, text=True, check=True).stdout
    return {"Chromium": re.sub(r"^\D*", "", output).strip()}


def _without_exif(data: memoryview) -> bytes:
    """A JPEG or PNG with its EXIF renamed, so that it is ignored. FF E1 never occurs in a JPEG's compressed data."""
    known = bytes(data)
    if known.startswith(b"\xff\xd8"):
        return re.sub(rb"(\xff\xe1..)Exif(?=\0)", rb"\1none", known, flags=re.DOTALL)
    if known.startswith(b"\x89PNG"):
        return re.sub(rb"eXIf(?=II\*\0|MM\0\*)", b"noNe", known)
    return known


class Page:
    """The browser's page, connected over a WebSocket (RFC 6455). This process exits when the page is gone."""

    def __init__(self, connection: socket.socket, janitor: Any) -> None:
        self._janitor = janitor  # the browser lives until its standard input is closed
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        self._file = connection.makefile("rb", buffering=2**20)

    def call(self, data: Bytes, *call: Any) -> Made:
        """Call a function of the page with data. Raises ValueError with the browser's reason."""
        try:
            self._send(_TEXT, json.dumps(call).encode())
            self._send(_BINARY, data)
            answer = json.loads(self._receive())
            if "error" in answer:
                raise ValueError(answer["error"])
            height, width = answer["shape"]
            return height, width, self._receive()
        except (OSError, EOFError):
            sys.exit("the browser's page has ended")

    def _send(self, kind: int, data: Bytes) -> None:
        size = len(data)
        if size < 126:
            head = struct.pack("!BB", 0x80 | kind, size)
        elif size < 2**16:
            head = struct.pack("!BBH", 0x80 | kind, 126, size)
        else:
            head = struct.pack("!BBQ", 0x80 | kind, 127, size)
        self._connection.sendall(head)
        self._connection.sendall(data)

    def _receive(self) -> bytes:
        message: list[bytes] = []
        is_last = False
        while not is_last:
            first, size = self._read(2)
            if first & 0xF > _BINARY:
                raise EOFError  # the only control message that a page sends closes the connection
            is_last, size = bool(first & 0x80), size & 0x7F
            if size > 125:
                (size,) = struct.unpack(*(("!H", self._read(2)) if size == 126 else ("!Q", self._read(8))))
            mask = self._read(4)
            message.append(_unmasked(self._read(size), mask))
        return b"".join(message)

    def _read(self, size: int) -> bytes:
        data: bytes = self._file.read(size)
        if len(data) < size:
            raise EOFError
        return data


def _unmasked(data: bytes, mask: bytes) -> bytes:
    """Data without the 4-byte mask that browsers apply to everything they send (section 5.3)."""
    words = np.frombuffer(data.ljust(-(-len(data) // 4) * 4, b"\0"), np.uint32)
    bare: bytes = (words ^ np.frombuffer(mask, np.uint32)).tobytes()
    return bare[: len(data)]


@functools.cache
def _browser() -> Page:
    """The page of a newly started browser."""
    folder = Path(tempfile.mkdtemp(prefix="sysnoise-chromium-"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        secret = secrets.token_urlsafe()
        address = json.dumps(f"ws://127.0.0.1:{server.getsockname()[1]}/{secret}")
        script = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
        page = folder / "page.html"  # contains the secret, which would be public on a command line
        page.write_text(f"<!doctype html><meta charset=utf-8><script>{script}serve({address})</script>")
        janitor = _started(folder, page)
        return Page(_connected(server, secret, janitor.stdout), janitor)


def _started(folder: Path, page: Path) -> Any:
    """The janitor of a browser that shows a page and keeps all of its files in a folder."""
    flags = [*_FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else []), f"--user-data-dir={folder / 'profile'}"]
    own = {name: str(folder) for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    return subprocess.Popen(
        ["sh", "-c", _JANITOR, "sh", str(folder), sys.argv[4], *flags, page.as_uri()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **own, "TMPDIR": "."},  # relative: socket names are limited to 107 characters
        cwd=folder,
        start_new_session=True,  # so that Ctrl-C does not reach it
    )


def _connected(server: socket.socket, secret: str, running: Any) -> socket.socket:
    """The page's connection; only the page knows the secret."""
    while True:
        ready, _, _ = select.select([server, running], [], [])
        if running in ready:
            sys.exit(f"{sys.argv[4]} does not start: see what {sys.argv[4]} --headless --dump-dom about:blank says")
        connection, _ = server.accept()
        connection.settimeout(_TIMEOUT)
        try:
            key = _key(connection, secret)
        except OSError:
            key = None
        if key:
            connection.settimeout(None)
            accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
            upgrade = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            connection.sendall(upgrade + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
            return connection
        connection.close()


def _key(connection: socket.socket, secret: str) -> bytes | None:
    """The key of a WebSocket request, which the response must use; None if the request lacks the secret."""
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(2**16)
        head += more
        if not more or len(head) > 2**16:
            return None
    if not secrets.compare_digest(head.partition(b"\r\n")[0], f"GET /{secret} HTTP/1.1".encode()):
        return None
    found = re.search(rb"\r\nSec-WebSocket-Key: *(\S+)\r\n", head, re.IGNORECASE)
    return found[1] if found else None
