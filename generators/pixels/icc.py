"""The description of an embedded ICC profile: parsed without LittleCMS, since every source's is recorded.

Offsets and types are those of ICC.1:2010, sections 7 and 10. The result is safe to print on a terminal.
"""

from __future__ import annotations

import re
import struct

UNREADABLE, UNNAMED = "unreadable", "unnamed"
# Characters; the longest in use have half as many.
LONGEST = 64

_HEADER, _SIGNATURE = 128, slice(36, 40)  # bytes before the tag table, and the place of `acsp`
_MOST_TAGS = 100  # as in LittleCMS
# Control characters, characters that change the direction of text, and backslashes.
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\\]")


def description(profile: bytes) -> str:
    """The profile's description (its `desc` tag), in English if it has several languages, cut after 64 characters.

    `unreadable` if the profile is damaged, and `unnamed` if its description is empty.
    """
    try:
        text = _text(_tag(profile, b"desc"))
    except (ValueError, struct.error):
        return UNREADABLE
    words = _UNFIT.sub("?", " ".join(text.partition("\0")[0].split()))
    return words[:LONGEST].rstrip() or UNNAMED


def _tag(profile: bytes, name: bytes) -> bytes:
    """The data of a tag. Raises ValueError and struct.error."""
    if profile[_SIGNATURE] != b"acsp":
        raise ValueError("no profile")
    (count,) = struct.unpack_from(">I", profile, _HEADER)
    if count > _MOST_TAGS:
        raise ValueError(f"{count} tags")
    for number in range(count):
        signature, offset, size = struct.unpack_from(">4sII", profile, _HEADER + 4 + 12 * number)
        if signature == name:
            return _part(profile, offset, size)
    raise ValueError("no such tag")


def _text(tag: bytes) -> str:
    """The text of a textDescriptionType (its ASCII part), or of a multiLocalizedUnicodeType."""
    if tag.startswith(b"desc"):
        (size,) = struct.unpack_from(">I", tag, 8)
        return _part(tag, 12, size).decode("latin-1")
    if not tag.startswith(b"mluc"):
        raise ValueError("no text")
    count, width = struct.unpack_from(">II", tag, 8)
    if width != 12 or not 0 < count <= len(tag) // width:
        raise ValueError(f"{count} records of {width} bytes")
    records = [struct.unpack_from(">2s2sII", tag, 16 + width * number) for number in range(count)]
    # The first of the best matches, as in LittleCMS.
    _, _, size, offset = max(records, key=lambda record: (record[0] == b"en") + (record[:2] == (b"en", b"US")))
    return _part(tag, offset, size).decode("utf-16-be", errors="replace")


def _part(data: bytes, offset: int, size: int) -> bytes:
    if offset + size > len(data):
        raise ValueError("it ends before")
    return data[offset : offset + size]
