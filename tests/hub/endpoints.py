"""The endpoints: what each path of the Hub answers, with the fields that the client reads."""

from __future__ import annotations

import base64
import codecs
import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs

from huggingface_hub import DatasetCard
from yaml import YAMLError

from tests.hub.calls import API, REPO, REVISION, Call, Reply, opened, reply, route, served
from tests.hub.state import Commit, File, Hub, RefusalError, Repo

# Larger files, and binary ones, go to LFS: the client's assumption about the Hub (`CommitOperationAdd._local_oid`).
REGULAR_BYTES = 5_000_000
# The most files in one preupload request: the client's `PREUPLOAD_BATCH_SIZE`.
PREUPLOAD_FILES = 256
# When every repository was made.
CREATED = "2026-01-02T03:04:05.000Z"


@route("GET", "/api/whoami-v2")
def whoami(hub: Hub, call: Call) -> Reply:
    if call.user is None:
        raise RefusalError(401, "Invalid username or password.")
    return reply({"type": "user", "name": call.user, "orgs": [], "auth": {"type": "access_token"}})


@route("POST", "/api/repos/create")
def create(hub: Hub, call: Call) -> Reply:
    """As on the Hub, a repository is public unless the request says otherwise, and starts with a commit."""
    asked = call.json
    namespace = asked.get("organization") or call.user
    name = f"{namespace}/{asked['name']}"
    url = {"url": f"{hub.url}/datasets/{name}", "name": name}
    if call.user is None or namespace != call.user:
        raise RefusalError(
            403 if call.user else 401, f"You don't have the rights to create a dataset under {namespace}"
        )
    if asked.get("type") != "dataset":
        raise RefusalError(400, "Only datasets are kept here")
    if name in hub.repos:
        raise RefusalError(409, "You already created this dataset repo", **url)
    hub.repos[name] = Repo(name, asked.get("visibility") == "private")
    content = base64.b64encode(b"*.tar filter=lfs diff=lfs merge=lfs -text\n").decode()
    hub.repos[name].commit("main", "initial commit", "", [("file", {"path": ".gitattributes", "content": content})])
    return reply(url)


@route("PUT", f"{API}/settings")
def settings(hub: Hub, call: Call) -> Reply:
    repo, asked = opened(hub, call, "write"), call.json
    repo.gated = asked.get("gated", repo.gated)
    repo.private = asked.get("visibility", "private" if repo.private else "public") == "private"
    return reply({"private": repo.private, "gated": repo.gated})


@route("GET", f"{API}/auth-check(?P<write>/write)?")
def auth_check(hub: Hub, call: Call) -> Reply:
    opened(hub, call, "write" if "write" in call.parts else "content")
    return Reply()


@route("GET", f"{API}(/revision/{REVISION})?")
def info(hub: Hub, call: Call) -> Reply:
    repo = opened(hub, call)
    commit = repo.resolve(call.parts.get("revision", "main"))
    readme = commit.files.get("README.md")
    found = {
        "id": repo.id,
        "author": repo.owner,
        "sha": commit.id,
        "createdAt": CREATED,
        "lastModified": commit.date,
        "private": repo.private,
        "gated": repo.gated,
        "disabled": False,
        "tags": [],
        "siblings": [_sibling(path, file, call.asks("blobs")) for path, file in sorted(commit.files.items())],
        "cardData": _metadata(DatasetCard(readme.data.decode())) if readme else None,
    }
    return reply(found)


def _sibling(path: str, file: File, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": path}
    lfs = {"lfs": {"sha256": file.sha256, "size": len(file.data), "pointerSize": len(file.pointer)}} if file.lfs else {}
    return {"rfilename": path, "size": len(file.data), "blobId": file.oid, **lfs}


def _metadata(card: DatasetCard) -> dict[str, Any]:
    return {name: value for name, value in vars(card.data).items() if value is not None}


@route("POST", "/api/validate-yaml")
def validate(hub: Hub, call: Call) -> Reply:
    """The metadata must be YAML, with `configs` that `datasets` can read; missing metadata is a warning."""
    from datasets.utils.metadata import MetadataConfigs

    try:
        card = DatasetCard(call.json["content"])
        MetadataConfigs.from_dataset_card_data(card.data)
    except (YAMLError, ValueError, TypeError) as error:
        return reply({"errors": [{"message": str(error)}], "warnings": []}, 400)
    warnings = [] if _metadata(card) else [{"message": "empty or missing yaml metadata in repo card"}]
    return reply({"errors": [], "warnings": warnings})


@route("GET", f"{API}/tree/{REVISION}(/(?P<folder>.+))?")
def tree(hub: Hub, call: Call) -> Reply:
    commit, folder = opened(hub, call).resolve(call.parts["revision"]), call.parts.get("folder", "")
    prefix = f"{folder}/" if folder else ""
    inside = [path.removeprefix(prefix) for path in commit.files if path.startswith(prefix)]
    if folder and not inside:
        raise RefusalError(404, f"{folder} does not exist on this revision", "EntryNotFound")
    names = {"/".join(path.split("/")[:depth]) for path in inside for depth in range(1, path.count("/") + 2)}
    paths = sorted(prefix + name for name in names if call.asks("recursive") or "/" not in name)
    start, size = int(call.query.get("cursor", ["0"])[0]), min(hub.page, 50) if call.asks("expand") else hub.page
    entries = [_entry(commit, path, call.asks("expand")) for path in paths[start : start + size]]
    if start + size >= len(paths):
        return reply(entries)
    asked = "&".join(f"{name}={call.query[name][0]}" for name in ("recursive", "expand") if name in call.query)
    return reply(entries, Link=f'<{hub.url}{call.path}?{asked}&cursor={start + size}>; rel="next"')


def _entry(commit: Commit, path: str, expand: bool) -> dict[str, Any]:
    file = commit.files.get(path)
    found: dict[str, Any] = {"path": path, "type": "directory", "size": 0}
    if file is None:
        found["oid"] = hashlib.sha1(f"{commit.id}{path}".encode()).hexdigest()
    else:
        found |= {"type": "file", "size": len(file.data), "oid": file.oid}
        if file.lfs:
            found["lfs"] = {"oid": file.sha256, "size": len(file.data), "pointerSize": len(file.pointer)}
    if expand:
        last = commit.last(path)
        found["lastCommit"] = {"id": last.id, "title": last.title, "date": last.date}
    return found


@route("POST", f"{API}/paths-info/{REVISION}")
def paths_info(hub: Hub, call: Call) -> Reply:
    commit, form = opened(hub, call).resolve(call.parts["revision"]), parse_qs(call.body.decode())
    known = {*commit.files, *(str(parent) for path in commit.files for parent in PurePosixPath(path).parents)}
    return reply([_entry(commit, path, form.get("expand") == ["true"]) for path in form["paths"] if path in known])


@route("GET", f"{API}/refs")
def refs(hub: Hub, call: Call) -> Reply:
    def listed(kind: str, named: Mapping[str, Commit]) -> list[dict[str, str]]:
        found = sorted(named.items())
        return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit.id} for name, commit in found]

    repo = opened(hub, call)
    return reply({"branches": listed("heads", repo.branches), "tags": listed("tags", repo.tags), "converts": []})


@route("GET", f"{API}/commits/{REVISION}")
def commits(hub: Hub, call: Call) -> Reply:
    repo = opened(hub, call)
    history = repo.resolve(call.parts["revision"]).history()
    listed = [{"id": one.id, "title": one.title, "message": one.message, "date": one.date} for one in history]
    return reply([{**one, "authors": [{"user": repo.owner}]} for one in listed])


@route("POST DELETE", f"{API}/branch/(?P<name>[^/]+)")
def branch(hub: Hub, call: Call) -> Reply:
    repo = opened(hub, call, "write")
    if call.method == "DELETE":
        return _remove(repo.branches, call.parts["name"])
    return _point(repo.branches, call.parts["name"], repo.resolve(call.json.get("startingPoint", "main")))


@route("POST DELETE", f"{API}/tag/(?P<name>[^/]+)")
def tag(hub: Hub, call: Call) -> Reply:
    """The path names the tag to delete, but the revision to tag."""
    repo = opened(hub, call, "write")
    if call.method == "DELETE":
        return _remove(repo.tags, call.parts["name"])
    return _point(repo.tags, call.json["tag"], repo.resolve(call.parts["name"]))


def _remove(named: dict[str, Commit], name: str) -> Reply:
    if name not in named or name == "main":
        raise RefusalError(404, f"Invalid rev id: {name}", "RevisionNotFound")
    del named[name]
    return Reply()


def _point(named: dict[str, Commit], name: str, commit: Commit) -> Reply:
    if name in named:
        raise RefusalError(409, f"Reference already exists: {name}")
    named[name] = commit
    return Reply()


@route("POST", f"{API}/preupload/{REVISION}")
def preupload(hub: Hub, call: Call) -> Reply:
    """How to send each file, and the hash of the existing file at its path."""
    known = opened(hub, call, "write").resolve(call.parts["revision"]).files

    def judged(asked: dict[str, Any]) -> dict[str, Any]:
        large = asked["size"] > REGULAR_BYTES or _binary(base64.b64decode(asked["sample"]))
        file = known.get(asked["path"])
        oid = {"oid": file.sha256 if file.lfs else file.oid} if file else {}
        return {"path": asked["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, **oid}

    files = call.json["files"]
    if len(files) > PREUPLOAD_FILES:
        raise RefusalError(413, "too many files")
    return reply({"files": [judged(asked) for asked in files]})


def _binary(sample: bytes) -> bool:
    try:
        return "\0" in codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return True


@route("POST", f"{API}/commit/{REVISION}")
def commit(hub: Hub, call: Call) -> Reply:
    repo, name = opened(hub, call, "write"), call.parts["revision"]
    (_, head), *changes = [(line["key"], line["value"]) for line in map(json.loads, call.body.splitlines())]
    with repo.lock:
        if name not in repo.branches:
            raise RefusalError(404, f"Invalid rev id: {name}", "RevisionNotFound")
        if not repo.branches[name].id.startswith(head.get("parentCommit", "")):
            raise RefusalError(412, "A commit has happened since. Please refresh and try again.")
        made = repo.commit(name, head["summary"], head["description"], changes)
    return reply({"success": True, "commitOid": made.id, "commitUrl": f"{hub.url}/datasets/{repo.id}/commit/{made.id}"})


@route("HEAD GET", f"/datasets/{REPO}/resolve/{REVISION}/(?P<path>.+)")
def resolve(hub: Hub, call: Call) -> Reply:
    repo = opened(hub, call, "content")
    found = repo.resolve(call.parts["revision"])
    headers = {"X-Repo-Commit": found.id}
    file = found.files.get(call.parts["path"])
    if file is None:
        raise RefusalError(404, "Entry not found", "EntryNotFound", **headers)
    if not file.lfs:
        return served(call, file.data, {**headers, "ETag": f'"{file.oid}"'})
    linked = {"X-Linked-Size": str(len(file.data)), "X-Linked-ETag": f'"{file.sha256}"'}
    return Reply(b"", 302, {**headers, **linked, "Location": hub.signed("GET", f"/{repo.id}/{file.sha256}")})
