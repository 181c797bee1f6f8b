"""Readers for files from other people: bounded in memory, with one kind of error for everything that can be wrong.

Python's own readers trust what they read. A tar's header may ask for gigabytes, point back to itself or continue in
other headers forever; JSON may nest deeper than the interpreter can recurse; Parquet may unpack to any size. All of
that is refused here.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

# Bytes: twice the record of 100,000 rows or the summary of 100,000 shards.
LARGEST_JSON = 2**26
# Levels of lists and objects; a summary has five.
_DEEPEST = 16
_LARGEST = 2**63
# Bytes of a shard's member: twice an npy with as many pixels as are decoded at all.
LARGEST_MEMBER = 2**30
# Rows of a table's row group, which are one shard's; bytes that one of their columns unpacks to; bytes of one text.
MOST_ROWS = 100_000
_LARGEST_CHUNK = 2**28
LONGEST_TEXT = 2**13

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
_BLOCK = 2**20


def read_at_most(file: BinaryIO, most: int) -> bytes:
    """The rest of a file. Raises ValueError, having read little more, if that is longer than `most` bytes."""
    parts, size = [], 0
    while part := file.read(_BLOCK):
        parts.append(part)
        size += len(part)
        if size > most:
            raise ValueError(f"it has more than {most:,} bytes")
    return b"".join(parts)


def read_file(path: Path, most: int) -> bytes:
    """A whole file. Raises OSError, and ValueError if it is not a regular file or has more than `most` bytes."""
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")
    with open(path, "rb") as file:
        return read_at_most(file, most)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Disables garbage collection, which would scan a large value again and again while it is read."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def parse_json(data: bytes | str) -> Any:
    """The value of a JSON text. Raises ValueError for anything else, such as NaN, infinities and endless nesting."""
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it contains {name}, which is not JSON")


def parse_description(data: bytes) -> Any:
    """The value of a small JSON text that can be printed, and written again unchanged.

    Raises ValueError for what `parse_json` refuses, and for duplicate keys, numbers of more than 64 bits, text that is
    not valid Unicode, deep nesting and very large files.
    """
    if len(data) > LARGEST_JSON:
        raise ValueError(f"it has more than {LARGEST_JSON:,} bytes")
    try:
        value = json.loads(data, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level = [value]
    for _ in range(_DEEPEST):
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            return value
    raise ValueError("it is nested too deeply")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("it has the same key twice")
    return found


def _inside(value: Any) -> Iterable[Any]:
    """A value's items, one level down. Raises ValueError for a text or number that cannot be written again."""
    if isinstance(value, str):
        value.encode()  # raises for half of a surrogate pair
    elif isinstance(value, (int, float)):
        if not -_LARGEST <= value < _LARGEST:
            raise ValueError("it contains a number of more than 64 bits")
    elif isinstance(value, dict):
        return (*value, *value.values())
    elif isinstance(value, list):
        return () if _is_flat(value) else value
    return ()


def _is_flat(values: list[Any]) -> bool:
    """Whether a list has only valid texts, or only valid numbers: a long list is a column."""
    kinds = set(map(type, values))
    if kinds == {str}:
        "".join(values).encode()  # raises as above
        return True
    return kinds <= {int, float} and min(values, default=0) >= -_LARGEST and max(values, default=0) < _LARGEST


def read_groups(file: BinaryIO, schema: pa.Schema) -> Iterator[pa.Table]:
    """The columns of a Parquet file that a schema names, one row group at a time.

    Raises ValueError if the file lacks one of them, or if a row group has more rows or longer text than a shard can
    have, or unpacks to too much. Repeated text is unpacked once.
    """
    texts = [field.name for field in schema if field.type == pa.string()]
    try:
        _check_columns(pq.read_schema(file), schema)
        with pq.ParquetFile(file, read_dictionary=texts, pre_buffer=False) as opened:
            for group in range(opened.num_row_groups):
                _check_group(opened.metadata.row_group(group))
                table = opened.read_row_group(group, columns=schema.names, use_threads=False)
                for name in texts:
                    for chunk in table[name].chunks:
                        if (pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0) > LONGEST_TEXT:
                            raise ValueError(f"a text in {name} has more than {LONGEST_TEXT:,} bytes")
                yield table.cast(schema)
    except (pa.ArrowException, OSError, OverflowError) as error:
        if getattr(error, "errno", None):  # Arrow's own errors, about damaged data, have none
            raise
        raise ValueError(str(error)) from None


def _check_columns(held: pa.Schema, schema: pa.Schema) -> None:
    for field in schema:
        kind = held.field(field.name).type if held.names.count(field.name) == 1 else None
        if kind is not None and pa.types.is_dictionary(kind):
            kind = kind.value_type
        if kind != field.type:
            raise ValueError(f"it has no column {field.name} of {field.type}")


def _check_group(group: pq.RowGroupMetaData) -> None:
    if not 0 <= group.num_rows <= MOST_ROWS:
        raise ValueError(f"it has a row group of {group.num_rows:,} rows")
    for number in range(group.num_columns):
        if not 0 <= group.column(number).total_uncompressed_size <= _LARGEST_CHUNK:
            raise ValueError(f"it has a column of {group.column(number).total_uncompressed_size:,} bytes")


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
