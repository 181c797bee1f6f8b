"""Whole runs with source and output in a real S3 server: the bytes of a run on disks, also where the server dies."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import NamedTuple

import pytest
from pyarrow import fs

from pipelines.store import Remote, place_of
from tests import ROOT
from tests.conftest import Command
from tests.pipelines.generate.test_generate import files
from tests.ray_cluster import wait_for
from tests.store.server import S3Server, busy_proxy

WORDS = ["--variant", "pil_lanczos,ffmpeg+nv12_ascend", "--dataset", "imagenet", "--samples-per-shard", "1"]


@pytest.fixture(scope="module")
def expected(
    photographs: dict[str, bytes], server: S3Server, generate: Command, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """What a run on disks writes, by path; the source lies in the server as well."""
    folder = tmp_path_factory.mktemp("disk")
    for key, data in photographs.items():
        path = folder / "val" / "n01440764" / f"{key}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        server.put(f"bucket/val/n01440764/{key}.JPEG", data)
    generate(*WORDS, "--source", folder / "val", "--output", folder / "out")
    return files(folder / "out")


class Ended(NamedTuple):
    status: int
    stdout: str
    stderr: str


def begin(server: S3Server, *more: str, **variables: str) -> subprocess.Popen[str]:
    words = [sys.executable, "generate.py", *WORDS, "--source", server.uri("bucket/val"), *more]
    environment = {**server.environment, "PATH": "/usr/bin:/bin", "HOME": "/root", **variables}
    return subprocess.Popen(words, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def end(process: subprocess.Popen[str]) -> Ended:
    stdout, stderr = process.communicate(timeout=600)
    assert "Traceback" not in stderr
    return Ended(process.returncode, stdout, stderr)


def stored(server: S3Server, path: str) -> dict[str, bytes]:
    """Every object below a path but logs, as the server gives it without S3."""
    client = fs.S3FileSystem(
        access_key=server.key, secret_key=server.secret, endpoint_override=server.address, region="us-east-1"
    )
    found = client.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
    files = (info.path for info in found if info.type == fs.FileType.File and info.extension != "log")
    return {file.removeprefix(f"{path}/"): server.get(file) for file in files}


def test_a_server_that_is_killed_and_comes_back_loses_nothing(server: S3Server, expected: dict[str, bytes]) -> None:
    output = ["--output", server.uri("bucket/out")]
    run = begin(server, *output)
    wait_for(lambda: any(path.endswith("-of-00009.json") for path in stored(server, "bucket/out")), run)
    try:
        server.kill()
    finally:
        server.start()
    ended = end(run)
    assert ended.status == 0, ended.stderr
    assert stored(server, "bucket/out") == expected
    said = ended.stdout + ended.stderr
    for secret in (server.key, server.secret):
        assert secret not in said
        assert not any(secret.encode() in data for data in expected.values())
    again = end(begin(server, *output))
    assert again.status == 0, again.stderr
    assert "Nothing was left to do." in again.stdout
    refused = end(begin(server, *output, "--size", "64"))
    assert refused.status == 2
    assert "was made with another configuration, config.size: 224 → 64" in refused.stderr


@pytest.mark.parametrize("where", ["--source", "--output"])
def test_denied_access_ends_the_run_in_one_line(where: str, server: S3Server, expected: dict[str, bytes]) -> None:
    denied = server.uri("another/place")
    ended = end(begin(server, "--output", server.uri("bucket/denied"), where, denied))
    assert ended.status == 3
    assert ended.stderr.startswith("generate.py: error: s3://another/place: access denied (AWS Error ACCESS_DENIED")
    assert len(ended.stderr.splitlines()) == 1
    ended = end(begin(server, "--output", server.uri("bucket/denied"), AWS_SECRET_ACCESS_KEY="not-the-secret"))
    assert ended.status == 3
    assert "access denied" in ended.stderr
    assert "not-the-secret" not in ended.stdout + ended.stderr
    assert len(stored(server, "bucket/val")) == 9  # what is there is seen
    assert not stored(server, "bucket/denied")


def test_how_often_a_store_is_asked_for_each_shard(server: S3Server, expected: dict[str, bytes]) -> None:
    """As docs/scale.md counts. An upload begins and ends with a POST; Arrow opens a file by a HEAD."""
    with busy_proxy(server) as proxy:
        ended = end(begin(server, "--output", server.uri("bucket/counted", proxy.address)))
        assert ended.status == 0, ended.stderr
        asked = [request.split() for request in proxy.requests]
    shards = sum(path.endswith(".tar") for path in expected)
    kinds = Counter((method, path.rpartition(".")[2]) for method, path in asked if "/validation-" in path)
    uploads = {("POST", kind): 2 * shards for kind in ("tar", "json")} | {
        ("PUT", kind): shards for kind in ("tar", "json")
    }
    assert kinds == {**uploads, ("HEAD", "json"): shards, ("GET", "json"): shards}
    # Manifests, the card, croissant.json and lists: for a variant, not for a shard. croissant.json takes seven.
    assert len(asked) - kinds.total() < 47


@pytest.mark.usefixtures("s3_environment")
def test_a_large_object_is_sent_in_parts_of_ten_mebibytes(server: S3Server) -> None:
    with busy_proxy(server) as proxy:
        large = place_of(server.uri("bucket/large", proxy.address), "--output")
        assert isinstance(large, Remote)
        large.write(bytes(20 * 2**20 + 1))
        asked = Counter(request.split()[0] for request in proxy.requests if request.endswith("/bucket/large"))
    assert (asked["POST"], asked["PUT"]) == (2, 3)
