"""Tars, of which no header is followed further than an honest one leads."""

from __future__ import annotations

import os
import tarfile
from typing import BinaryIO, NoReturn

# Bytes of a shard's member: twice an npy with as many pixels as are decoded at all.
LARGEST_MEMBER = 2**30
# Bytes of the extended headers before a member's own. Paths have 4,096 at most, extended attributes some thousands.
_LONGEST_EXTENSION = 2**18
_EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
# Keywords that apply to all members that follow; every extended header copies them.
_MOST_GLOBALS = 100
_FILE_END = 2**63


class Tar(tarfile.TarFile):
    """A reader for uncompressed tars, by member. Raises tarfile.ReadError for anything wrong with a header.

    Refuses what an honest tar of images does not have and tarfile reads wrongly: sparse members, whose bytes are not
    contiguous, and damaged headers, which tarfile takes for the end. A member is forgotten when the next one is read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._end = file.seek(0, os.SEEK_END)
        file.seek(0)
        super().__init__(fileobj=file, mode="r", encoding="utf-8", tarinfo=_Header)

    def next(self) -> tarfile.TarInfo | None:
        return self._plain() or self._any()

    def _plain(self) -> tarfile.TarInfo | None:
        """The next member if its header is one that shards have, read ten times faster than tarfile does."""
        assert self.fileobj
        if self.firstmember is not None or self.pax_headers:  # already read, or extended by global headers
            return None
        # Start one byte early, as tarfile does, so that a remote store is not asked twice.
        start = max(0, self.offset - 1)
        self.fileobj.seek(start)
        member = _plain_member(self.fileobj.read(self.offset - start + tarfile.BLOCKSIZE)[self.offset - start :])
        if member is None:
            self.fileobj.seek(start)
            return None
        member.offset = self.offset
        member.offset_data = self.offset + tarfile.BLOCKSIZE
        self.offset = member.offset_data + member.size + -member.size % tarfile.BLOCKSIZE
        return member

    def _any(self) -> tarfile.TarInfo | None:
        try:
            member = super().next()
        except RecursionError:
            raise tarfile.ReadError("its extended headers follow one another without end") from None
        except (ValueError, OverflowError) as error:
            raise tarfile.ReadError(f"a damaged header: {error}") from None
        self.members: list[tarfile.TarInfo] = []
        if member is None:
            self._check_end()
        return member

    def skip_to(self, offset: int) -> None:
        """Continue with the member whose first header is at `offset`."""
        self.firstmember, self.offset = None, offset

    def content(self, member: tarfile.TarInfo) -> bytes:
        """A regular member's bytes."""
        if not member.isreg():
            raise tarfile.ReadError(f"{member.name!a} is not a regular file")
        if member.size > min(LARGEST_MEMBER, self._end - member.offset_data):  # before memory is allocated for it
            raise tarfile.ReadError(f"{member.name!a} has {member.size:,} bytes: too many, or the tar ends before them")
        assert self.fileobj
        self.fileobj.seek(member.offset_data)
        return self.fileobj.read(member.size)

    def _check_end(self) -> None:
        assert self.fileobj
        self.fileobj.seek(self.offset)
        if self.fileobj.read(tarfile.BLOCKSIZE).strip(tarfile.NUL):
            raise tarfile.ReadError(f"a damaged header at byte {self.offset:,}")


# The header of a shard's tar, in which only name, size and checksum vary: their positions (POSIX.1-1988, ustar).
_NAME, _SIZE, _SUM = slice(0, 100), slice(124, 136), slice(148, 156)
_BETWEEN = (slice(100, 124), slice(136, 148), slice(156, 512))
_EMPTY = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)
_CONSTANT = [_EMPTY[part] for part in _BETWEEN]
# The checksum counts itself as spaces.
_SUM_OF_CONSTANT = sum(map(sum, _CONSTANT)) + len(_EMPTY[_SUM]) * ord(" ")


def _plain_member(header: bytes) -> tarfile.TarInfo | None:
    """The member of a header as shards have it: a regular file, mode 0644, all else 0 or empty. None for any other."""
    if len(header) != tarfile.BLOCKSIZE or [header[part] for part in _BETWEEN] != _CONSTANT:
        return None
    name, size = header[_NAME].rstrip(tarfile.NUL), header[_SIZE]
    total = sum(name) + sum(size) + _SUM_OF_CONSTANT
    if tarfile.NUL in name or header[_SUM] != b"%06o\0 " % total or not size[:-1].isdigit() or size[-1]:
        return None
    try:
        member = _Header(name.decode())
        member.size = int(size[:-1], 8)
    except ValueError:  # digits that are not octal, or a name that is not UTF-8
        return None
    member.chksum = total
    return member


class _Header(tarfile.TarInfo):
    """A member's header, or one that extends the next."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        header = super().frombuf(buf, encoding, errors)
        if header.type in _EXTENSIONS and not 0 <= header.size <= _LONGEST_EXTENSION:
            raise tarfile.ReadError(f"an extended header of {header.size:,} bytes")
        if header.type == tarfile.GNUTYPE_SPARSE:
            header._refuse_sparse()
        return header

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> _Header:
        header = super().fromtarfile(tarfile_)
        if not header.offset_data <= tarfile_.offset < _FILE_END:
            raise tarfile.ReadError(f"a member of {header.size:,} bytes")
        if len(tarfile_.pax_headers) > _MOST_GLOBALS:
            raise tarfile.ReadError("its global headers never end")
        return header

    def _refuse_sparse(self, *_: object) -> NoReturn:
        raise tarfile.ReadError("it has sparse members: make it again without --sparse")

    # tarfile's methods for the maps of sparse members in extended headers; a map may be of any length.
    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse
