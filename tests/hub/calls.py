"""Requests and replies, and the table of endpoints: which function answers which method and path of which origin."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any, NamedTuple

from tests.hub.state import Hub, Need, Origin, Repo

REPO = "(?P<repo>[^/]+/[^/]+)"
API = f"/api/datasets/{REPO}"
REVISION = "(?P<revision>[^/]+)"


class Reply(NamedTuple):
    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = {}


@dataclass(frozen=True)
class Call:
    """A request with a valid token, or with none. `path` is raw; `parts` are its named parts, unquoted."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Message
    body: bytes
    user: str | None
    parts: Mapping[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def asks(self, name: str) -> bool:
        return self.query.get(name, ["false"])[0].lower() in ("1", "true")


Endpoint = Callable[[Hub, Call], Reply]
ROUTES: list[tuple[Origin, str, re.Pattern[str], Endpoint]] = []


def route(methods: str, pattern: str, origin: Origin = "hub") -> Callable[[Endpoint], Endpoint]:
    def add(endpoint: Endpoint) -> Endpoint:
        ROUTES.extend((origin, method, re.compile(pattern), endpoint) for method in methods.split())
        return endpoint

    return add


def reply(value: object, status: int = 200, **headers: str) -> Reply:
    return Reply(json.dumps(value).encode(), status, {"Content-Type": "application/json", **headers})


def opened(hub: Hub, call: Call, need: Need = "metadata") -> Repo:
    return hub.open(call.parts["repo"], call.user, need)


def served(call: Call, data: bytes, headers: Mapping[str, str]) -> Reply:
    """The bytes, or the requested range of them."""
    headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", call.headers.get("Range") or "")
    if not asked:
        return Reply(data, 200, headers)
    start, end = int(asked[1]), min(int(asked[2] or len(data) - 1), len(data) - 1)
    if start >= len(data):
        return Reply(b"", 416, {"Content-Range": f"bytes */{len(data)}"})
    return Reply(data[start : end + 1], 206, {**headers, "Content-Range": f"bytes {start}-{end}/{len(data)}"})
