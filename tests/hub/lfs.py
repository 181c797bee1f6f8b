"""LFS storage: uploads, whole or in parts, and downloads by signed URLs of the CDN."""

from __future__ import annotations

import hashlib
from typing import Any

from tests.hub.calls import REPO, Call, Reply, opened, reply, route, served
from tests.hub.state import Hub, RefusalError

LFS = f"/datasets/{REPO}\\.git/info/lfs/objects"
OBJECT = f"/{REPO}/(?P<oid>[0-9a-f]{{64}})"


@route("POST", f"{LFS}/batch")
def batch(hub: Hub, call: Call) -> Reply:
    """Where to send each object: nowhere if it is stored, otherwise one URL, or one for each part of a large object."""
    repo = opened(hub, call, "write")

    def upload(oid: str, size: int) -> dict[str, Any]:
        path = f"/{repo.id}/{oid}/{size}"
        if size <= hub.part_bytes:
            return {"href": hub.signed("PUT", path)}
        parts = range(1, -(-size // hub.part_bytes) + 1)
        header = {f"{part:05}": hub.signed("PUT", f"{path}/{part}") for part in parts}
        return {"href": hub.signed("POST", path), "header": {"chunk_size": str(hub.part_bytes), **header}}

    verify = {"href": f"{hub.url}/datasets/{repo.id}.git/info/lfs/objects/verify"}
    objects = [
        asked
        if asked["oid"] in repo.objects
        else {**asked, "actions": {"upload": upload(asked["oid"], asked["size"]), "verify": verify}}
        for asked in call.json["objects"]
    ]
    return reply({"transfer": "basic", "objects": objects})


@route("POST", f"{LFS}/verify")
def verify(hub: Hub, call: Call) -> Reply:
    if len(opened(hub, call, "write").objects.get(call.json["oid"], b"")) != call.json["size"]:
        raise RefusalError(404, "The object was not uploaded")
    return Reply()


@route("PUT", f"{OBJECT}/(?P<size>[0-9]+)(/(?P<part>[0-9]+))?", "cdn")
def store(hub: Hub, call: Call) -> Reply:
    if "part" in call.parts:
        hub.parts.setdefault(call.parts["oid"], {})[int(call.parts["part"])] = call.body
    else:
        _keep(hub, call, call.body)
    return Reply(headers={"ETag": _etag(call.body)})


@route("POST", f"{OBJECT}/(?P<size>[0-9]+)", "cdn")
def complete(hub: Hub, call: Call) -> Reply:
    asked = call.json["parts"]
    parts = [hub.parts[call.parts["oid"]][part["partNumber"]] for part in asked]
    if [part["etag"] for part in asked] != list(map(_etag, parts)):
        raise RefusalError(400, "InvalidPart")
    _keep(hub, call, b"".join(parts))
    return Reply()


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


def _keep(hub: Hub, call: Call, data: bytes) -> None:
    if (hashlib.sha256(data).hexdigest(), str(len(data))) != (call.parts["oid"], call.parts["size"]):
        raise RefusalError(400, "BadDigest")
    hub.repo(call.parts["repo"]).objects[call.parts["oid"]] = data


@route("GET", OBJECT, "cdn")
def stored(hub: Hub, call: Call) -> Reply:
    return served(call, hub.repo(call.parts["repo"]).objects[call.parts["oid"]], {"ETag": f'"{call.parts["oid"]}"'})
