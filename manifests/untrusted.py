"""Readers for files from other people's hands: bounded in memory, and with one kind of error for all that can be wrong.

Python's own readers take what they read at its word. A tar's header may ask for gigabytes, lead back to itself or
follow another without end; JSON may nest deeper than the interpreter can follow. What does is refused here.
"""

from __future__ import annotations

import json
import tarfile
from typing import Any, BinaryIO, NoReturn

# Bytes of what stands before a member's own header. Paths have 4,096 at most, extended attributes some thousands.
_LONGEST_EXTENSION = 2**18
_EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
# Keywords that hold for all members that follow; every extended header copies them.
_MOST_GLOBALS = 100
_FILE_END = 2**63
_BLOCK = 2**20


def read_at_most(file: BinaryIO, most: int) -> bytes:
    """The rest of a file. Raises ValueError where it has more than `most` bytes, having read little more."""
    parts, size = [], 0
    while part := file.read(_BLOCK):
        parts.append(part)
        size += len(part)
        if size > most:
            raise ValueError(f"it has more than {most:,} bytes")
    return b"".join(parts)


def parse_json(data: bytes | str) -> Any:
    """The value of a JSON text. Raises ValueError for anything else: NaN and infinities, and nesting without end."""
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is not JSON")


class Tar(tarfile.TarFile):
    """An uncompressed tar to be read, by members alone. Raises tarfile.ReadError for whatever is wrong with a header.

    Refuses what an honest tar of images does not have, and what would be read wrongly: sparse members, whose bytes do
    not lie in one piece, and headers that are damaged, which tarfile takes for the end.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(fileobj=file, mode="r", encoding="utf-8", tarinfo=_Header)

    def next(self) -> tarfile.TarInfo | None:
        try:
            member = super().next()
        except RecursionError:
            raise tarfile.ReadError("its extended headers follow one another without end") from None
        except (ValueError, OverflowError) as error:
            raise tarfile.ReadError(f"a damaged header: {error}") from None
        if member is None:
            self._check_end()
        return member

    def _check_end(self) -> None:
        assert self.fileobj
        self.fileobj.seek(self.offset)
        if self.fileobj.read(tarfile.BLOCKSIZE).strip(tarfile.NUL):
            raise tarfile.ReadError(f"a damaged header at byte {self.offset:,}")


class _Header(tarfile.TarInfo):
    """A member's header, or one that says more of the next."""

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
            raise tarfile.ReadError("its global headers have no end")
        return header

    def _refuse_sparse(self, *_: object) -> NoReturn:
        raise tarfile.ReadError("it has sparse members, so make it again without --sparse")

    # tarfile's names for what reads the maps of sparse members in extended headers; a map may be of any length.
    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse
