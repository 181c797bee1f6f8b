"""Listing tars in a store: what is requested, and what is cached for the next run."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.untrusted import Tar
from pipelines import store
from pipelines.generate.sources import kept
from pipelines.generate.sources.base import BROKEN
from pipelines.generate.sources.headers import _Headers
from pipelines.generate.sources.kept import pack, unpack
from pipelines.generate.sources.members import Member
from pipelines.generate.sources.reading import here
from pipelines.generate.sources.tars import list_tars
from pipelines.store import Disk, Pieces, Place, Remote, Version
from tests.fuzzing import described, fuzz, outcome

KB, MB = 2**10, 2**20


def tar_of(sizes: list[int]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for index, size in enumerate(sizes):
            member = tarfile.TarInfo(f"{index}.jpg")
            member.size = size
            file.addfile(member, io.BytesIO(bytes(size)))
    return buffer.getvalue()


class Counted(Pieces):
    """Bytes that record how many were asked for each time."""

    def __init__(self, data: bytes) -> None:
        self.size, self._data = len(data), data
        self.asked: list[int] = []

    def _read(self, offset: int, length: int) -> bytes:
        self.asked.append(length)
        return self._data[offset : offset + length]


def listed(pieces: Pieces) -> list[tuple[str, int]]:
    file: io.BufferedReader = io.BufferedReader(_Headers(pieces), store.BLOCK)
    with Tar(file) as tar:
        return [(member.name, member.offset_data) for member in tar]


@given(st.lists(st.sampled_from([0, 3, 70 * KB, 300 * KB, 2 * MB]), max_size=8))
@fuzz(15)
def test_headers_are_found_whatever_is_between_them(sizes: list[int]) -> None:
    data = tar_of(sizes)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert listed(Counted(data)) == [(member.name, member.offset_data) for member in tar]


def test_large_images_are_skipped_and_small_ones_read_in_blocks() -> None:
    for sizes, asked, share in (([2 * MB] * 5, 7, 0.05), ([100 * KB] * 100, 5, 1.01), ([3 * MB, 1, 2] * 3, 5, 0.05)):
        data = tar_of(sizes)
        pieces = Counted(data)
        assert len(listed(pieces)) == len(sizes)
        assert len(pieces.asked) <= asked
        assert sum(pieces.asked) <= share * len(data)


class Bucket:
    """Tars as if in a store, which record when they are listed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tars = {f"{name}.tar": tar_of([1, 2, number]) for number, name in enumerate("ab")}
        self.written = dict.fromkeys(self.tars, 10**18)
        self.opened: list[str] = []
        monkeypatch.setattr(Remote, "pieces", lambda file: self._pieces(file))
        monkeypatch.setattr(Remote, "versions", lambda folder: {name: self._version(name) for name in self.tars})
        monkeypatch.setattr(Remote, "version", lambda file: self._version(file.name))

    def _version(self, name: str) -> Version:
        return Version(len(self.tars[name]), self.written[name])

    def _pieces(self, file: Place) -> Pieces:
        self.opened.append(file.name)
        return Counted(self.tars[file.name])

    def list(self, count: int = 2) -> tuple[list[str], list[list[Member]]]:
        """The tars read for a listing, and the listing."""
        self.opened.clear()
        files = tuple(Remote(f"s3://bucket/{name}") for name in self.tars)[:count]
        found = list(list_tars(files, here))
        expected = [
            [(f"{index}.jpg", size) for index, size in enumerate((1, 2, number))] for number in range(len(files))
        ]
        assert [[(member.name, member.size) for member in members] for members in found] == expected
        return sorted(self.opened), found


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setenv("SYSNOISE_CACHE", str(tmp_path / "cache"))
    return Bucket(monkeypatch)


def kept_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "listings").iterdir())


def test_a_second_run_lists_what_has_changed(bucket: Bucket) -> None:
    opened, first = bucket.list()
    assert opened == ["a.tar", "b.tar"]
    assert bucket.list() == ([], first)
    assert bucket.list(1) == ([], first[:1])
    bucket.written["b.tar"] += 1
    assert bucket.list() == (["b.tar"], first)
    bucket.tars["a.tar"] += bytes(512)
    assert bucket.list() == (["a.tar"], first)


def test_what_is_written_while_it_is_listed_is_not_kept(bucket: Bucket) -> None:
    """Another tar written in the same second could be taken for the first."""
    bucket.written["a.tar"] = 10**19
    bucket.list()
    assert bucket.list()[0] == ["a.tar"]


def test_a_cached_file_that_is_not_the_tars_listing_is_ignored(bucket: Bucket, tmp_path: Path) -> None:
    bucket.list()
    one, other = kept_files(tmp_path)
    whole = other.read_bytes()
    head, _, packed = whole.partition(b"\n")
    beyond = pack([Member("0.jpg", (0, 10**6), 1, b"")])
    for changed in (one.read_bytes(), b"", whole[:-9], head + b"\n", head + b"\n" + beyond, packed, b"x" * 2**15):
        other.write_bytes(changed)
        assert len(bucket.list()[0]) == 1
        assert other.read_bytes() == whole
    other.unlink()
    other.mkdir()
    assert len(bucket.list()[0]) == 1


def test_a_cache_that_cannot_be_written_is_ignored(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"")
    assert len(bucket.list()[0]) == len(bucket.list()[0]) == 2


def test_what_was_used_last_is_kept(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.list()
    for age, path in enumerate(kept_files(tmp_path)):
        os.utime(path, (age, age))
    monkeypatch.setattr(kept, "_MOST", sum(path.stat().st_size for path in kept_files(tmp_path)) - 1)
    bucket.list(1)
    assert len(kept_files(tmp_path)) == 1
    assert bucket.list(1)[0] == []


LISTING = [
    Member("a.jpg", (3, 512), 700, b""),
    Member("a\udcff.cls", (3, 2048), 3, b"\xff7"),
    Member("b.jpg", BROKEN, 0, b""),
]


def test_a_listing_survives_a_round_trip() -> None:
    assert unpack(pack(LISTING), 3) == unpack(pack(LISTING), 3, 4096) == LISTING


@fuzz(100)
@given(data=st.data())
def test_a_listing_from_anyone_is_valid_or_refused(data: st.DataObject) -> None:
    text = data.draw(described(json.dumps(kept._loosened(pack(LISTING), None)).encode()))
    squeezed = kept._squeezed(text)
    try:
        members = outcome(lambda: unpack(squeezed, 3, 4096))
    except ValueError:
        return
    for member in members or ():
        assert member.place == BROKEN or 0 <= int(member.place[-1]) <= 4096 - member.size
        assert isinstance(member.name, str)


def test_tars_on_a_disk_are_not_kept(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(bucket.tars["a.tar"])
    assert len(list(list_tars((Disk(str(tmp_path / "a.tar")),), here))) == 1
    assert not (tmp_path / "cache").exists()
