"""The members of a source's tars, tar by tar: from the cache if possible, else from the tars' headers.

Tars in a store are listed several at a time, and the listings are cached.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from pipelines.generate.sources.kept import Kept, pack, unpack
from pipelines.generate.sources.members import Member, members_of
from pipelines.generate.sources.reading import Chore, Spread
from pipelines.store import Disk, Place

# About how many bytes of memory a member takes, and how many seconds a tar of some thousands of members.
_MEMBER, _SECONDS = 400, 0.1


def list_tars(files: Sequence[Place], spread: Spread) -> Iterator[list[Member]]:
    """The members of each tar. Raises UsageError if one is not a readable tar."""
    if isinstance(files[0], Disk):
        yield from spread(Chore("listing", files[0], partial(_members, files), _SECONDS, _size), range(len(files)))
        return
    kept = Kept(files)
    absent = [number for number in range(len(files)) if not kept.holds(number)]
    found = spread(Chore("listing", files[0], partial(_packed, files), _SECONDS, len), absent)
    listed = frozenset(absent)
    for number in range(len(files)):
        members = None if number in listed else kept.get(number)
        if members is None:
            packed = next(found) if number in listed else _packed(files, number)
            kept.put(number, packed)
            members = unpack(packed, number)
        yield members
    kept.make_room()


def _members(files: Sequence[Place], number: int) -> list[Member]:
    return list(members_of(files[number], number))


def _size(members: Sequence[Member]) -> int:
    return _MEMBER * len(members)


def _packed(files: Sequence[Place], number: int) -> bytes:
    return pack(_members(files, number))
