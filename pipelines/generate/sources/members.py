"""The files inside uncompressed tars: found in one pass over the headers, read by the positions of their bytes.

Skips files left by operating systems. Refuses compressed tars, and images that are links.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

from manifests.untrusted import Tar
from pipelines.errors import UsageError
from pipelines.generate.sources.base import (
    ABSENT,
    BROKEN,
    Missing,
    Sample,
    is_image,
    is_litter,
    is_recording,
    oversized,
)
from pipelines.generate.sources.headers import open_headers
from pipelines.generate.sources.labels import label_in_json
from pipelines.generate.sources.nearest import begins_compressed, unpacking
from pipelines.generate.sources.reading import Piece, read_pieces
from pipelines.store import Place, Remote

# Stands in for the bytes of a member that is a link.
_LINK = Missing("source: a link in place of the file itself: make the tar again with --dereference --hard-dereference")
# Bytes read of a `.cls` member: a label has three digits.
_LONGEST_LABEL = 16
# Bytes of the largest `.json` member that is read: ImageNet's have some hundreds.
_LONGEST_DESCRIPTION = 2**16


class Member(NamedTuple):
    """A file inside an uncompressed tar: the position of its bytes, and the label that it states.

    `place` is BROKEN for an image or recording that is a link. `text` has the first bytes of a `.cls` member. For a
    `.json` member before the first of these it has the label stated there, or what is wrong with it; else it is empty.
    """

    name: str
    place: tuple[int, int] | tuple[str]
    size: int
    text: bytes

    @property
    def suffix(self) -> str:
        return os.path.splitext(self.name)[1].lower()


def members_of(place: Place, number: int) -> Generator[Member, None, None]:
    """The members of the tar at `place`, which is the source's file with this number."""
    labelled = False
    try:
        with open_headers(place) if isinstance(place, Remote) else place.open() as file, Tar(file) as archive:
            for member in archive:
                if is_litter(member.name):
                    continue
                if (member.islnk() or member.issym()) and (is_image(member.name) or is_recording(member.name)):
                    yield Member(member.name, BROKEN, 0, b"")
                if member.isreg():
                    suffix, text = os.path.splitext(member.name)[1].lower(), b""
                    if suffix == ".cls":
                        labelled = True
                        text = _content(archive, member)[:_LONGEST_LABEL]
                    elif suffix == ".json" and not labelled and member.size <= _LONGEST_DESCRIPTION:
                        text = _stated(_content(archive, member))
                    yield Member(member.name, (number, member.offset_data), member.size, text)
    except tarfile.TarError as error:
        if begins_compressed(place):
            raise UsageError(unpacking(place)) from None
        raise UsageError(f"{place} cannot be read as an uncompressed tar ({error}): unpack or fetch it again") from None


def _content(archive: Tar, member: tarfile.TarInfo) -> bytes:
    """A small member's bytes, or the first bytes of a large one."""
    file = archive.extractfile(member)
    return file.read(_LONGEST_DESCRIPTION) if file else b""


def _stated(description: bytes) -> bytes:
    """The label stated in a `json` member, or what is wrong with it."""
    try:
        label = label_in_json(description)
    except ValueError as error:
        return str(error).encode()
    return b"" if label is None else str(label).encode()


def read_members(files: Sequence[Place], samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
    """The bytes of samples whose place is (number of a tar, offset), empty, or BROKEN."""
    refused = [_refused(sample) for sample in samples]
    wanted = [sample for sample, why in zip(samples, refused, strict=True) if not why]
    fetched = read_pieces(files, (Piece(sample.place[0], sample.place[1], sample.size) for sample in wanted))
    for sample, why in zip(samples, refused, strict=True):
        if why:
            yield why
            continue
        data = next(fetched)
        whole = len(data) == sample.size
        yield data if whole else Missing(f"source: {files[sample.place[0]].name} ends inside this member")


def _refused(sample: Sample) -> Missing | None:
    if sample.place == BROKEN:
        return _LINK
    return oversized(sample.size) if sample.place else ABSENT


def key_and_extension(name: str) -> tuple[str, str]:
    """A member's key and extension by WebDataset's rule: the key ends at the first dot after the last slash."""
    folder, _, base = name.removeprefix("./").rpartition("/")
    stem, _, extension = base.partition(".")
    return (f"{folder}/{stem}" if folder else stem), extension.lower()
