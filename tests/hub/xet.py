"""Xet storage for uploads: what `hf_xet` sends is reassembled and kept as the repository's objects.

The formats are those of https://huggingface.co/docs/xet (xorb, shard, upload-protocol). Hashes of chunks and xorbs are
not checked: a commit that names a file's sha256 finds the object only if its bytes are right. The server never reports
a chunk as known, and offers no downloads: `resolve` names no Xet hash, so the client downloads without Xet.
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Iterator

import pyarrow as pa

from tests.hub.calls import API, REPO, REVISION, Call, Reply, opened, reply, route
from tests.hub.state import Hub, RefusalError

# The size of a shard's header, and of each of its records.
RECORD = 48
# A file's flags in a shard: whether a record for each of its terms, and one for the file, follow.
VERIFIED, DESCRIBED = 1 << 31, 1 << 30
# How a chunk is compressed; 1 is plain LZ4.
STORED, GROUPED_LZ4 = 0, 2


@route("GET", f"{API}/xet-write-token/{REVISION}")
def write_token(hub: Hub, call: Call) -> Reply:
    repo = opened(hub, call, "write")
    path = f"/{repo.id}"
    found = {"casUrl": hub.cas + path, "accessToken": hub.signature("xet", path), "exp": int(time.time()) + 3600}
    return reply(found)


@route("POST", f"/{REPO}/v1/xorbs/default/(?P<hash>[0-9a-f]{{64}})", "cas")
def xorb(hub: Hub, call: Call) -> Reply:
    hub.xorbs[call.parts["hash"]] = list(_chunks(call.body))
    return reply({"was_inserted": True})


@route("POST", f"/{REPO}/v1/shards", "cas")
def shard(hub: Hub, call: Call) -> Reply:
    for data in _files(hub, call.body):
        hub.repo(call.parts["repo"]).objects[hashlib.sha256(data).hexdigest()] = data
    return reply({"result": 1})


def _chunks(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data) and data[at] == 0:
        packed, scheme = int.from_bytes(data[at + 1 : at + 4], "little"), data[at + 4]
        size = int.from_bytes(data[at + 5 : at + 8], "little")
        at += 8 + packed
        yield _unpacked(data[at - packed : at], scheme, size)


def _unpacked(data: bytes, scheme: int, size: int) -> bytes:
    if scheme == STORED:
        return data
    plain: bytes = pa.Codec("lz4").decompress(data, size, asbytes=True)
    if scheme != GROUPED_LZ4:
        return plain
    # The bytes are grouped: every fourth byte from the first on, then from the second on, and so on.
    found, at = bytearray(size), 0
    for start in range(4):
        count = len(range(start, size, 4))
        found[start::4] = plain[at : at + count]
        at += count
    return bytes(found)


def _files(hub: Hub, data: bytes) -> Iterator[bytes]:
    at = RECORD
    while data[at : at + 32] != b"\xff" * 32:
        flags, count = struct.unpack_from("<II", data, at + 32)
        terms = [struct.unpack_from("<32sIIII", data, at + RECORD * (1 + term)) for term in range(count)]
        yield b"".join(_term(hub, name, first, last) for name, _, _, first, last in terms)
        at += RECORD * (1 + count + count * bool(flags & VERIFIED) + bool(flags & DESCRIBED))


def _term(hub: Hub, name: bytes, first: int, last: int) -> bytes:
    # A hash is printed as four numbers, which are stored in little-endian order.
    chunks = hub.xorbs.get("".join(f"{number:016x}" for number in struct.unpack("<4Q", name)))
    if chunks is None or last > len(chunks):
        raise RefusalError(400, "The shard names a xorb that was not uploaded")
    return b"".join(chunks[first:last])
