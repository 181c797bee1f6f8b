"""Places on a disk and in a real S3 server: they behave alike; which errors are retried, and what is refused."""

from __future__ import annotations

import hashlib
import io
import pickle
import random
import socket
import tarfile
from pathlib import Path

import pytest

from pipelines.errors import UsageError
from pipelines.store import Disk, Place, Remote, StoreError, place_of, retry
from tests.store.server import S3Server, busy_proxy

pytestmark = pytest.mark.usefixtures("s3_environment")


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, server: S3Server, tmp_path: Path) -> Place:
    """An empty folder of either kind; `fill` puts files into it without the tested code."""
    if request.param == "disk":
        return place_of(str(tmp_path), "--source")
    return place_of(server.uri(f"bucket/{tmp_path.name}"), "--source")


def fill(place: Place, server: S3Server, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        if isinstance(place, Remote):
            server.put(f"{place.path.removeprefix('s3://')}/{name}", data)
        else:
            path = Path(place.path, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def test_both_kinds_list_and_read_alike(place: Place, server: S3Server) -> None:
    fill(
        place, server, {"b.jpg": b"bb", "a.jpg": b"a", "n01/c.jpg": b"ccc", "n01/deep/d.jpg": b"", "e%20f+ü.jpg": b"e"}
    )
    assert place.files() == {"a.jpg": 1, "b.jpg": 2, "e%20f+ü.jpg": 1}
    assert place.folders() == ["n01"]
    assert (place / "n01").folders() == ["deep"]
    assert (place / "n01").is_dir()
    assert not (place / "n01").is_file()
    assert (place / "a.jpg").is_file()
    assert (place / "e%20f+ü.jpg").read(100) == b"e"
    assert (place / "n01/c.jpg").parent.files() == {"c.jpg": 3}
    assert (place / "none").files() == {}
    assert (place / "none").folders() == []
    assert not (place / "none").is_file()
    assert not (place / "none").is_dir()
    with pytest.raises(FileNotFoundError):
        (place / "none").read(100)
    with pytest.raises(FileNotFoundError):
        (place / "none").open()
    (place / "n01").remove()
    assert place.folders() == []
    assert pickle.loads(pickle.dumps(place)) == place


def test_a_tar_is_read_in_pieces(place: Place, server: S3Server) -> None:
    """tarfile walks the tar, then members are read out of order: many more seeks than one pass."""
    chance = random.Random(5)
    members = {f"{index:03}.bin": chance.randbytes(chance.randrange(300_000)) for index in range(40)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    fill(place, server, {"a.tar": buffer.getvalue()})
    with (place / "a.tar").open() as file, tarfile.open(fileobj=file, mode="r:") as tar:
        found = tar.getmembers()
        chance.shuffle(found)
        for member in found:
            inside = tar.extractfile(member)
            assert inside
            assert inside.read() == members[member.name]
        file.seek(-10, io.SEEK_END)
        assert len(file.read(100)) == 10


def test_an_object_is_written_whole(server: S3Server) -> None:
    place = place_of(server.uri("bucket/written"), "--output")
    assert isinstance(place, Remote)
    data = random.Random(6).randbytes(25_000_000)  # several parts of a multipart upload
    (place / "big.tar").write(memoryview(data))
    held = server.get("bucket/written/big.tar")
    assert hashlib.sha256(held).digest() == hashlib.sha256(data).digest()
    (place / "big.tar").write(b"")
    assert (place / "big.tar").read(100) == b""


def test_an_upload_that_fails_half_way_leaves_no_object(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "PATIENCE", 0.5)
    with busy_proxy(server) as proxy:
        place = place_of(server.uri("bucket/half", proxy.address), "--output")
        assert isinstance(place, Remote)
        proxy.patience, proxy.refusals = 2, 10_000
        with pytest.raises(StoreError, match=r"s3://bucket/half/a: the store failed \(AWS Error SLOW_DOWN"):
            (place / "a").write(b"data" * 6_000_000)
        assert any("POST" in request for request in proxy.requests)  # the upload had begun
    assert place_of(server.uri("bucket/half"), "--output").files() == {}


def test_requests_to_a_busy_store_are_retried(server: S3Server, capfd: pytest.CaptureFixture[str]) -> None:
    with busy_proxy(server) as proxy:
        place = place_of(server.uri("bucket/busy", proxy.address), "--output")
        assert isinstance(place, Remote)
        proxy.refusals = 35  # more than the AWS SDK itself retries
        (place / "a").write(b"data")
        assert proxy.refused == 35
        assert (place / "a").read(100) == b"data"
    shown = capfd.readouterr().err
    assert "s3://bucket/busy/a does not answer (AWS Error SLOW_DOWN" in shown
    assert len(shown.splitlines()) == 1


def test_retrying_ends_if_a_store_stays_away(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "PATIENCE", 1.0)
    with socket.socket() as silent:  # bound, so that no other test's server gets its port, but not listening
        silent.bind(("127.0.0.1", 0))
        away = server.uri("bucket/a", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(StoreError, match=r"bucket/a: the store failed \(AWS Error NETWORK_CONNECTION") as failure:
            place_of(away, "--output")
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_SECRET_ACCESS_KEY", "wrong-secret"), ("AWS_ACCESS_KEY_ID", "wrong-key")]
)
def test_denied_access_is_reported_at_once_without_a_key(
    name: str, value: str, server: S3Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match="s3://bucket/a: access denied") as failure:
        place_of(server.uri("bucket/a"), "--output")
    shown = str(failure.value) + "".join(capfd.readouterr())
    assert not any(secret in shown for secret in (value, server.key, server.secret))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ftp://host/a", "--output ftp://host/a: give a path, or a URI that begins with s3://, gs:// or file://"),
        ("s3:///a", "--output s3:///a names no bucket: write s3://BUCKET/FOLDER"),
        (
            "s3://bucket/a?colour=red",
            "is not a URI that pyarrow.fs accepts (Unexpected query parameter in S3 URI: 'colour')",
        ),
        ("s3://KEY:topsecret@bucket/a", "--output contains credentials"),
    ],
)
def test_uris_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as failure:
        place_of(text, "--output")
    assert message in str(failure.value)
    assert "topsecret" not in str(failure.value)


def test_the_address_of_a_place_leads_back_to_it(place: Place) -> None:
    for one in (place, place / "a" / "b", (place / "a").parent):
        assert place_of(one.address, "--source") == one


@pytest.mark.parametrize("root", [Disk("/"), Remote("s3://bucket", "region=us-east-1")])
def test_nothing_is_above_a_root(root: Place) -> None:
    assert (root.name, root.parent) == ("", root)
    assert ((root / "a").name, (root / "a").parent) == ("a", root)


def test_a_file_uri_is_a_path(tmp_path: Path) -> None:
    assert place_of(tmp_path.as_uri(), "--source") == Disk(str(tmp_path))
