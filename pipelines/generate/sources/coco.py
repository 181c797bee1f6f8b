"""COCO validation images: a folder or a zip, with a COCO-format annotation file that says their ids.

Boxes, classes and masks stay in the annotation file, in source pixels: it is named in the manifest with its sha256, and
remains the ground truth. Any COCO-format file will do; nothing depends on COCO's own ids or classes.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pipelines.errors import UsageError
from pipelines.generate.sources.base import (
    ABSENT,
    IMAGE_SUFFIXES,
    UNKNOWN_LABEL,
    Listing,
    Missing,
    Sample,
    key_of,
    some,
)
from pipelines.generate.sources.reading import Piece, read_files, read_pieces, unreadable
from pipelines.store import BLOCK, Pieces, PiecesFile, Place

UNKNOWN_IMAGE = -1
# Bytes that are fetched at a time from a zip's directory, which is small.
_DIRECTORY = 2**16


@dataclass(frozen=True)
class Annotations:
    """What is needed of an annotation file: its name and sha256, image ids by file name, and what is odd in it."""

    name: str
    sha256: str
    ids: Mapping[str, int]
    notes: tuple[str, ...]


def read_annotations(path: Place) -> Annotations:
    """Read a COCO-format file. Raises UsageError where it is none."""
    try:
        data = path.read()
        content = json.loads(data)
    except (OSError, ValueError) as error:
        raise UsageError(f"the annotations in {path} cannot be read ({error})") from None
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not images:
        raise UsageError(f"{path} has no list of `images`: is it a COCO-format annotation file?")
    ids: dict[str, int] = {}
    for image in images:
        name, number = _image(path, image)
        if ids.setdefault(name, number) != number:
            raise UsageError(f"{path} gives {name} two ids, {ids[name]} and {number}")
    known = set(ids.values())
    annotations = content.get("annotations")
    strays = [a for a in annotations if _stray(a, known)] if isinstance(annotations, list) else []
    note = f"{path} has {len(strays):,} annotations of images that it does not list: no sample will have them"
    return Annotations(path.name, hashlib.sha256(data).hexdigest(), ids, (note,) if strays else ())


def _image(path: Place, image: Any) -> tuple[str, int]:
    name = image.get("file_name") if isinstance(image, dict) else None
    number = image.get("id") if isinstance(image, dict) else None
    if not isinstance(name, str) or type(number) is not int:
        raise UsageError(f"{path} has an image without `file_name` or integer `id`: {str(image)[:80]}")
    return PurePosixPath(name).name, number


def _stray(annotation: Any, known: set[int]) -> bool:
    return not isinstance(annotation, dict) or annotation.get("image_id") not in known


def open_coco(path: Place, annotations: Place | None) -> CocoSource:
    """The images at `path`, a folder or a zip. Raises UsageError where there are none."""
    if annotations is None:
        raise UsageError("--dataset coco needs --annotations FILE, as instances_val2017.json")
    if path.is_dir():
        return CocoSource(path, annotations, "coco-folder")
    with path.open(_DIRECTORY) as file:
        if not zipfile.is_zipfile(file):
            raise UsageError(f"--source {path} is neither a folder of images nor a zip of them")
    return CocoSource(path, annotations, "coco-zip")


@dataclass(frozen=True)
class CocoSource:
    """COCO images with their ids. An image that the annotations list and the source lacks is a sample that fails."""

    root: Place
    annotations: Place
    kind: str

    def listing(self) -> Listing:
        """The samples; those that the annotations do not know get image id -1."""
        annotations = read_annotations(self.annotations)
        found = {name: (size, place) for name, size, place in self._images()}
        if not found:
            raise UsageError(f"no images in {self.root}")
        unknown = sorted(found.keys() - annotations.ids.keys())
        absent = sorted(annotations.ids.keys() - found.keys())
        if len(unknown) == len(found):
            raise UsageError(f"{self.annotations} knows none of the {len(found):,} images: is it the right file?")
        notes = list(annotations.notes)
        if absent:
            notes.append(f"{self.annotations} lists {some(absent)} that the source does not have: counted as failed")
        if unknown:
            notes.append(f"{self.annotations} does not list {some(unknown)}: image id {UNKNOWN_IMAGE}")
        samples = [
            _sample(name, annotations.ids.get(name, UNKNOWN_IMAGE), *found.get(name, (0, ())))
            for name in (*found, *absent)
        ]
        return Listing(samples, notes, {"annotations": annotations.name, "annotations_sha256": annotations.sha256})

    def _images(self) -> Iterator[tuple[str, int, tuple[Any, ...]]]:
        if self.kind == "coco-folder":
            files = self.root.files().items()
            yield from ((name, size, (name,)) for name, size in files if name.lower().endswith(IMAGE_SUFFIXES))
        else:
            yield from _zipped(self.root)

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        """The bytes of the samples; a zip is opened once."""
        return read_files(self.root, samples) if self.kind == "coco-folder" else _unzip(self.root, samples)


def _sample(name: str, image_id: int, size: int, place: tuple[Any, ...]) -> Sample:
    return Sample(key_of(name), UNKNOWN_LABEL, name, size, place, (("image_id", image_id),))


def _zipped(path: Place) -> Iterable[tuple[str, int, tuple[Any, ...]]]:
    found: dict[str, tuple[str, int, tuple[Any, ...]]] = {}
    try:
        with path.open(_DIRECTORY) as file, zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                name = PurePosixPath(member.filename).name
                if member.is_dir() or not name.lower().endswith(IMAGE_SUFFIXES):
                    continue
                if name in found:
                    raise UsageError(f"{path} holds two images called {name}: rename one of them")
                found[name] = name, member.file_size, (member.filename,)
    except zipfile.BadZipFile as error:
        raise UsageError(f"{path} cannot be read as a zip ({error}): fetch it again") from None
    return found.values()


# No photograph is larger; a member that says so is a zip bomb.
_LARGEST_MEMBER = 2**28


def _unzip(root: Place, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
    """The members' bytes: what the zip module reads has been fetched in larger pieces before."""
    try:
        held = _Held(root.pieces())
        with zipfile.ZipFile(PiecesFile(held)) as archive:
            pieces = list(_members(archive, [sample.place[0] for sample in samples if sample.place]))
            fetched = zip(pieces, read_pieces([root], pieces), strict=True)
            for sample in samples:
                if sample.place:
                    held.hold(*next(fetched))
                yield _extract(archive, sample) if sample.place else ABSENT
    except (OSError, zipfile.BadZipFile) as error:
        raise unreadable(root, error) from None


def _members(archive: zipfile.ZipFile, names: Iterable[str]) -> Iterator[Piece]:
    """Where each member lies, with the header before its data; nowhere, if it is there no more."""
    starts = sorted({archive.start_dir, *(member.header_offset for member in archive.infolist())})
    for name in names:
        member = archive.NameToInfo.get(name)
        offset = member.header_offset if member else 0
        after = bisect.bisect_right(starts, offset)
        length = starts[after] - offset if member and after < len(starts) else 0
        yield Piece(0, offset, min(length, BLOCK))


class _Held(Pieces):
    """A file of which one piece is at hand. What is read beyond it is fetched."""

    def __init__(self, file: Pieces) -> None:
        self._file = file
        self._piece, self._data = Piece(0, 0, 0), b""
        self.size = file.size

    def hold(self, piece: Piece, data: bytes) -> None:
        self._piece, self._data = piece, data

    def _read(self, offset: int, length: int) -> bytes:
        start = offset - self._piece.offset
        if start >= 0 and start + length <= len(self._data):
            return self._data[start : start + length]
        return self._file.read(offset, length)


def _extract(archive: zipfile.ZipFile, sample: Sample) -> bytes | Missing:
    if sample.size > _LARGEST_MEMBER:
        return Missing(f"source: refused unread: {sample.size:,} bytes in a zip (a zip bomb?)")
    try:
        return archive.read(sample.place[0])
    except (zipfile.BadZipFile, zlib.error, ValueError, RuntimeError, KeyError) as error:
        return Missing(f"source: cannot be read from the zip ({error})")
