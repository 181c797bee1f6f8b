from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.generate.tar import TarWriter


def write(path: Path) -> TarWriter:
    with open(path, "wb") as file:
        tar = TarWriter(file)
        tar.add("a.png", b"x" * 1000)
        tar.add("a.cls", b"7")
        tar.close()
    return tar


def test_headers_are_fixed_and_the_digest_is_the_files(tmp_path: Path) -> None:
    tar = write(tmp_path / "one.tar")
    data = (tmp_path / "one.tar").read_bytes()
    assert (tar.size, tar.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert data[257:265] == b"ustar\x0000"  # POSIX.1-1988 magic and version
    with tarfile.open(tmp_path / "one.tar") as read:
        members = read.getmembers()
    assert [(m.name, m.size) for m in members] == [("a.png", 1000), ("a.cls", 1)]
    for member in members:
        assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
        assert (member.uname, member.gname, member.pax_headers) == ("", "", {})
        assert isinstance(member.mtime, int)


def test_same_members_give_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "one.tar")
    write(tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


@given(st.dictionaries(st.from_regex(r"[a-zé0-9_]{1,50}\.png", fullmatch=True), st.binary(max_size=2000), max_size=25))
def test_the_tar_equals_the_one_that_python_writes(members: dict[str, bytes]) -> None:
    ours, theirs = io.BytesIO(), io.BytesIO()
    tar = TarWriter(ours)
    with tarfile.open(fileobj=theirs, mode="w", format=tarfile.USTAR_FORMAT) as other:
        for name, data in members.items():
            tar.add(name, data)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            other.addfile(member, io.BytesIO(data))
    tar.close()
    assert ours.getvalue() == theirs.getvalue()


def test_a_name_that_ustar_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        TarWriter(io.BytesIO()).add("k" * 101, b"")
