"""The Hub's state: repositories with their history and permissions, injected faults, and the log of requests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import Any, Literal

Origin = Literal["hub", "cdn", "cas"]
Need = Literal["metadata", "content", "write"]


class RefusalError(Exception):
    """An error answer: `code` is the Hub's name for it, which decides the client's exception."""

    def __init__(self, status: int, message: str, code: str | None = None, **fields: str) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.fields = status, message, code, fields


@dataclass
class Request:
    """A request, and how it was answered.

    `authorized`: it carried a user's token. `received` and `sent` are the bodies' sizes in bytes. A `status` of 0 means
    that the connection was dropped before the answer.
    """

    origin: Origin
    method: str
    path: str
    authorized: bool
    range: str | None
    received: int = 0
    sent: int = 0
    status: int = 0


@dataclass
class Fault:
    """What to do to the next `times` requests that match.

    With a `status`, that is the answer. With `after`, the connection is closed after that many bytes of the request's
    body (PUT, POST) or of the answer's (GET), properly or by a `reset`. `delay` is in seconds.
    """

    method: str
    path: str
    times: int = 1
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    after: int | None = None
    reset: bool = False
    delay: float = 0.0


@dataclass(frozen=True)
class File:
    """A file's bytes in a commit; `commit` is the id of the one that last changed it."""

    data: bytes
    lfs: bool
    commit: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def pointer(self) -> bytes:
        """What git stores for an LFS file."""
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n".encode()

    @property
    def oid(self) -> str:
        """Git's hash of what git stores."""
        blob = self.pointer if self.lfs else self.data
        return hashlib.sha1(b"blob %d\0" % len(blob) + blob).hexdigest()


@dataclass(frozen=True)
class Commit:
    id: str
    title: str
    message: str
    parent: Commit | None
    files: Mapping[str, File]
    date: str = field(default_factory=lambda: f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%S.000Z}")

    def history(self) -> Iterator[Commit]:
        commit: Commit | None = self
        while commit:
            yield commit
            commit = commit.parent

    def last(self, path: str) -> Commit:
        """The commit that last changed a file, or any file in a folder."""
        ids = {file.commit for name, file in self.files.items() if name == path or name.startswith(path + "/")}
        return next(commit for commit in self.history() if commit.id in ids)


@dataclass
class Repo:
    """A dataset repository. `granted` names the users with access to it if it is gated."""

    id: str
    private: bool
    gated: str | bool = False
    granted: set[str] = field(default_factory=set)
    branches: dict[str, Commit] = field(default_factory=dict)
    tags: dict[str, Commit] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=count)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def owner(self) -> str:
        return self.id.partition("/")[0]

    def resolve(self, revision: str) -> Commit:
        """A branch's head, a tag's commit, or the commit whose id starts with `revision`."""
        named = self.branches.get(revision) or self.tags.get(revision)
        if named is None and re.fullmatch("[0-9a-f]{7,40}", revision):
            known = (commit for head in [*self.branches.values(), *self.tags.values()] for commit in head.history())
            named = next((commit for commit in known if commit.id.startswith(revision)), None)
        if named is None:
            raise RefusalError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return named

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return {path: file.data for path, file in self.resolve(revision).files.items()}

    def commit(self, branch: str, title: str, message: str, changes: list[tuple[str, Any]]) -> Commit:
        """Commit changes, in the form of a commit request's lines, to a branch; a missing branch is created."""
        parent = self.branches.get(branch)
        made = hashlib.sha1(f"{self.id}#{next(self.numbers)}".encode()).hexdigest()
        files = dict(parent.files) if parent else {}
        for kind, value in changes:
            path = value["path"]
            if kind == "file":
                files[path] = File(base64.b64decode(value["content"], validate=True), False, made)
            elif kind == "lfsFile":
                if len(self.objects.get(value["oid"], b"")) != value["size"]:
                    raise RefusalError(400, f"Your push was rejected: the LFS object of {path} was not uploaded")
                files[path] = File(self.objects[value["oid"]], True, made)
            else:
                for name in _deleted(files, kind, path):
                    del files[name]
        self.branches[branch] = Commit(made, title, message, parent, files)
        return self.branches[branch]


def _deleted(files: Mapping[str, File], kind: str, path: str) -> list[str]:
    folder = path.rstrip("/") + "/"
    found = [name for name in files if (name.startswith(folder) if kind == "deletedFolder" else name == path)]
    if not found:
        raise RefusalError(404, "A file with this name doesn't exist", "EntryNotFound")
    return found


class Hub:
    """The running server's state, and how tests control it. Tests may lower `page` (entries) and `part_bytes`.

    `token` belongs to the owner of the namespace `lab`, `stranger` to a user who owns nothing.
    """

    def __init__(self) -> None:
        self.token = f"hf_{secrets.token_hex(17)}"
        self.stranger = f"hf_{secrets.token_hex(17)}"
        self.users = {self.token: "lab", self.stranger: "stranger"}
        self.repos: dict[str, Repo] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.xorbs: dict[str, list[bytes]] = {}
        self.requests: list[Request] = []
        self.page = 1000
        self.part_bytes = 5_000_000_000
        self.url = self.cdn = self.cas = ""
        self._faults: list[Fault] = []
        self._secret = secrets.token_bytes(32)

    def repo(self, name: str) -> Repo:
        return self.repos[name]

    def fail(self, method: str, path: str, **what: Any) -> None:
        """Inject a `Fault`: `path` is a regular expression to search for in a request's path and query."""
        self._faults.append(Fault(method, path, **what))

    def environment(self, home: Path) -> dict[str, str]:
        """The environment of a process that takes this server for the Hub; the client reads it when imported.

        `HF_HUB_DISABLE_XET` makes it upload by LFS, in one commit; otherwise it uploads by Xet, in any number of them.
        """
        return {
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": self.token,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def fault(self, method: str, path: str) -> Fault | None:
        """The next fault for this request, which uses it up."""
        for fault in self._faults:
            if fault.times and fault.method == method and re.search(fault.path, path):
                fault.times -= 1
                return fault
        return None

    def signature(self, method: str, path: str) -> str:
        return hmac.new(self._secret, f"{method} {path}".encode(), "sha256").hexdigest()

    def signed(self, method: str, path: str) -> str:
        """A URL of the CDN that works without a token, for one method."""
        return f"{self.cdn}{path}?signature={self.signature(method, path)}"

    def user(self, authorization: str | None) -> str | None:
        if authorization is None:
            return None
        if authorization.removeprefix("Bearer ") not in self.users:
            raise RefusalError(401, "Invalid credentials in Authorization header")
        return self.users[authorization.removeprefix("Bearer ")]

    def open(self, name: str, user: str | None, need: Need) -> Repo:
        """The repository, if the user has the permission. For others, a private repository does not exist."""
        repo = self.repos.get(name)
        if repo is None or (repo.private and user != repo.owner):
            message = "Repository not found" if user else "Invalid username or password."
            raise RefusalError(404 if user else 401, message, "RepoNotFound")
        if need == "write" and user != repo.owner:
            raise RefusalError(403 if user else 401, "You don't have the rights to write to this repository")
        if need == "content" and repo.gated and user not in {repo.owner, *repo.granted}:
            raise RefusalError(403 if user else 401, f"Access to dataset {name} is restricted", "GatedRepo")
        return repo
