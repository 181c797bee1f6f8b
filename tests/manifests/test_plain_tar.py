"""Tar headers read by the fast path, and all others, give what tarfile finds in them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

from manifests.untrusted import Tar
from pipelines.generate.tar import TarWriter


class Slow(Tar):
    """Reads every header as tarfile does."""

    def _plain(self) -> None:
        return None


def made() -> bytes:
    file = io.BytesIO()
    tar = TarWriter(file)
    for name, size in (("a.png", 700), ("a.cls", 0), ("é" * 50, 512), ("b.json", 1)):
        tar.add(name, bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    tar.close()
    return file.getvalue()


WHOLE = made()


def read(kind: Callable[[io.BytesIO], Tar], data: bytes) -> list[Any]:
    """All that is known of each member, its content, and how reading ended."""
    found: list[Any] = []
    try:
        with kind(io.BytesIO(data)) as tar:
            for member in tar:
                known = {**member.get_info(), "place": (member.offset, member.offset_data), "pax": member.pax_headers}
                found.append((known, tar.content(member) if member.isreg() else None))
    except (tarfile.TarError, EOFError) as error:
        found.append((type(error), str(error)))
    return found


def test_our_own_members_take_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(Tar, WHOLE) == read(Slow, WHOLE)
    with Tar(io.BytesIO(WHOLE)) as tar:
        assert tar.next()  # tarfile itself has read the first by now
        monkeypatch.setattr(Tar, "_any", None)  # needed only at the end
        assert all(tar.next() for _ in range(3))
        with pytest.raises(TypeError):
            tar.next()


@pytest.mark.parametrize("value", [0, ord("0"), ord("7"), ord("8"), ord("_"), ord(" "), 0xFF])
@pytest.mark.parametrize("header", [0, 1536])
def test_a_changed_header_gives_what_tarfile_gives(value: int, header: int) -> None:
    for at in range(header, header + tarfile.BLOCKSIZE):
        changed = bytearray(WHOLE)
        changed[at] = value
        assert read(Tar, bytes(changed)) == read(Slow, bytes(changed)), at - header
        summed = changed[header : header + 512]
        summed[148:156] = b" " * 8
        changed[header + 148 : header + 156] = b"%06o\0 " % sum(summed)  # and the checksum to match
        assert read(Tar, bytes(changed)) == read(Slow, bytes(changed)), at - header


def test_a_truncated_tar_gives_what_tarfile_gives() -> None:
    for end in range(0, len(WHOLE), 97):
        assert read(Tar, WHOLE[:end]) == read(Slow, WHOLE[:end]), end


@pytest.mark.parametrize("kind", [tarfile.XGLTYPE, tarfile.XHDTYPE])
def test_an_extended_header_before_a_member_counts(kind: bytes) -> None:
    header = tarfile.TarInfo.create_pax_global_header({"path": "other.png", "comment": "é"})
    header = header[:156] + kind + header[157:]
    total = sum(header[:148]) + sum(header[156:512]) + 8 * 32
    header = header[:148] + b"%06o\0 " % total + header[156:]
    for at in (0, 1536):
        data = WHOLE[:at] + header + WHOLE[at:]
        found = read(Tar, data)
        assert found == read(Slow, data)
        assert "other.png" in [known["name"] for known, _ in found]


def test_reading_continues_where_it_is_told_to() -> None:
    with Tar(io.BytesIO(WHOLE)) as tar:
        members = list(tar)
    for start in range(len(members)):
        with Tar(io.BytesIO(WHOLE)) as tar:
            tar.skip_to(members[start].offset)
            assert [member.name for member in tar] == [member.name for member in members[start:]]
