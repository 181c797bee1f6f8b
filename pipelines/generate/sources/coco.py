"""COCO validation images: a folder or a zip, with a COCO-format annotation file that gives their ids.

Boxes, classes and masks stay in the annotation file, in source pixels. The manifest has its name and sha256, and it
remains the ground truth. Any COCO-format file will do; nothing depends on COCO's own ids or classes.
"""

from __future__ import annotations

import bisect
import functools
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipelines.errors import UsageError
from pipelines.generate.sources.annotations import Listed, read_annotations, unique_keys, with_slashes
from pipelines.generate.sources.base import (
    ABSENT,
    IMAGE_SUFFIXES,
    LARGEST_IMAGE,
    UNKNOWN_LABEL,
    Listing,
    Missing,
    Names,
    Sample,
    is_litter,
    key_of,
    oversized,
)
from pipelines.generate.sources.matching import Matched, match
from pipelines.generate.sources.reading import Piece, read_files, read_pieces, unreadable
from pipelines.store import BLOCK, Pieces, PiecesFile, Place
from pipelines.text import number_of

UNKNOWN_IMAGE = -1
# Other methods need unbounded memory to unpack.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Python's reader raises these for a damaged zip.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, OverflowError, RuntimeError)


def _is_zip(path: Place) -> bool:
    try:
        return zipfile.is_zipfile(_Sparing(path.pieces()))
    except _ZIP_ERRORS:
        return False


def open_coco(path: Place, annotations: Place | None) -> CocoSource:
    """The images at `path`, a folder or a zip. Raises UsageError if there are none."""
    if annotations is None:
        raise UsageError("--dataset coco needs --annotations FILE, such as instances_val2017.json")
    if path.is_dir():
        return CocoSource(path, annotations, "coco-folder")
    if not _is_zip(path):
        raise UsageError(f"--source {path} is neither a folder of images nor a zip of images")
    return CocoSource(path, annotations, "coco-zip")


class _File(NamedTuple):
    """An image in the source: its size in bytes, and its place."""

    size: int
    place: tuple[Any, ...]


# The file of a missing image.
_NOWHERE = _File(0, ())


@dataclass(frozen=True)
class CocoSource:
    """COCO images with their ids. An image listed in the annotations but missing from the source fails."""

    root: Place
    annotations: Place
    kind: str

    def listing(self) -> Listing:
        """The samples. Those not listed in the annotations get image id -1."""
        annotations = read_annotations(self.annotations)
        images = annotations.images
        files = self._files(images)
        if not files:
            raise UsageError(f"no images in {self.root}{self._elsewhere()}")
        matched = match(images, files, self.root.path.removesuffix(self.root.suffix if self._is_zip else ""))
        if not matched.files:
            held = number_of(len(files), "image")
            raise UsageError(f"{self.annotations} lists none of the {held}: is it the right file?")
        absent = [path for path in images if path not in matched.files]
        known = frozenset(matched.files.values())
        unknown = unique_keys([path for path in files if path not in known], {image.key for image in images.values()})
        samples = [
            *(self._sample(file, images[path], files[file]) for path, file in matched.files.items()),
            *(self._sample(path, images[path], _NOWHERE) for path in absent),
            *(self._sample(path, Listed(key, UNKNOWN_IMAGE, None), files[path]) for path, key in unknown.items()),
        ]
        notes = [*annotations.notes, *self._notes(absent, unknown, matched)]
        facts = {"annotations": annotations.name, "annotations_sha256": annotations.sha256}
        sizes = {image.key: image.size for image in images.values() if image.size}
        return Listing(samples, notes, facts, sizes=sizes)

    def _sample(self, path: str, image: Listed, file: _File) -> Sample:
        if (self._is_zip or file is _NOWHERE) and image.key == key_of(path):
            path = path.rpartition("/")[2]  # as it would be in a folder: both are the same source
        return Sample(image.key, UNKNOWN_LABEL, path, file.size, file.place, (("image_id", image.id),))

    def _notes(self, absent: Sequence[str], unknown: Collection[str], matched: Matched) -> Iterator[str]:
        if absent:
            yield f"{self.annotations} lists {Names(absent)} missing from the source: counted as failed"
        if unknown:
            yield f"{self.annotations} does not list {Names(unknown)}: image id {UNKNOWN_IMAGE}"
        if loosely := matched.loosely:
            first = min(loosely)
            yield (
                f"images that {self.annotations} lists in other folders, found by their names: {len(loosely):,} "
                f"({first} is {matched.files[first]})"
            )

    @property
    def _is_zip(self) -> bool:
        return self.kind == "coco-zip"

    def _files(self, images: Collection[str]) -> dict[str, _File]:
        """The existing images, by their paths with `/`."""
        found: dict[str, _File] = {}
        for path, file in _zipped(self.root) if self._is_zip else _listed(self.root, images):
            if is_litter(path):
                continue
            if path in found:
                raise UsageError(f"{self.root} has two images called {path}: rename one of them")
            found[path] = file
        return found

    def _elsewhere(self) -> str:
        """A hint, if images are in a folder of the source instead."""
        if self._is_zip:
            return ""
        having = [name for name in self.root.folders() if any(map(_is_image, (self.root / name).files()))]
        return f": its folder {having[0]} has some, so give --source {self.root / having[0]}" if having else ""

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        """The bytes of the samples. A zip is opened once."""
        return _unzip(self.root, samples) if self._is_zip else read_files(self.root, samples)


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


def _listed(root: Place, images: Collection[str]) -> Iterator[tuple[str, _File]]:
    """The images in a folder, and in those of its subfolders that the annotations mention."""
    for folder in ("", *_folders(root, images)):
        for name, size in (root / folder if folder else root).files().items():
            if _is_image(name):
                path = f"{folder}/{name}" if folder else name
                yield with_slashes(path), _File(size, (path,))


def _folders(root: Place, images: Collection[str]) -> list[str]:
    """The subfolders of `root` with these images. The first folders of a path may lead to `root`, or be left out."""

    @functools.cache
    def is_folder(path: str) -> bool:
        parent = path.rpartition("/")[0]
        return (not parent or is_folder(parent)) and (root / path).is_dir()

    found = set()
    for folder in {path.rpartition("/")[0] for path in images}:
        parts = folder.split("/") if folder else []
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        if (there := next(filter(is_folder, ends), None)) is not None:
            found.add(there)
    return sorted(found)


def _zipped(path: Place) -> Iterator[tuple[str, _File]]:
    try:
        with zipfile.ZipFile(_Sparing(path.pieces())) as archive:
            for member in archive.infolist():
                if _is_image(member.filename) and not member.is_dir():
                    yield with_slashes(member.filename), _File(member.file_size, (member.filename,))
    except _ZIP_ERRORS as error:
        raise UsageError(f"{path} cannot be read as a zip ({error}): fetch it again") from None


class _Sparing(PiecesFile):
    """A file of which at most an image's size is read at once: a zip's directory may claim to have any size."""

    def read(self, size: int = -1, /) -> bytes:
        if size > LARGEST_IMAGE:
            raise zipfile.BadZipFile(f"it has a directory of {size:,} bytes")
        return super().read(size)


def _unzip(root: Place, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
    """The members' bytes. They are fetched in large pieces before the zip module reads them."""
    try:
        held = _Held(root.pieces())
        with zipfile.ZipFile(_Sparing(held)) as archive:
            pieces = list(_members(archive, [sample.place[0] for sample in samples if sample.place]))
            fetched = zip(pieces, read_pieces([root], pieces), strict=True)
            for sample in samples:
                if sample.place:
                    held.hold(*next(fetched))
                yield _extract(archive, sample) if sample.place else ABSENT
    except (OSError, *_ZIP_ERRORS) as error:
        raise unreadable(root, error) from None


def _members(archive: zipfile.ZipFile, names: Iterable[str]) -> Iterator[Piece]:
    """The range of each member, with the header before its data; empty if it no longer exists."""
    starts = sorted({archive.start_dir, *(member.header_offset for member in archive.infolist())})
    for name in names:
        member = archive.NameToInfo.get(name)
        offset = max(0, member.header_offset) if member else 0
        after = bisect.bisect_right(starts, offset)
        length = starts[after] - offset if member and after < len(starts) else 0
        yield Piece(0, offset, min(length, BLOCK))


class _Held(Pieces):
    """A file with one piece in memory. Reads beyond that are fetched."""

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
    if refused := oversized(sample.size):
        return refused
    try:
        member = archive.getinfo(sample.place[0])
        if member.header_offset < 0:
            raise zipfile.BadZipFile("Bad offset of a member")
        if member.compress_type not in _COMPRESSIONS:
            return Missing("source: compressed by a method that is neither deflate nor none: make the zip again")
        with archive.open(member) as file:
            return file.read(sample.size)  # at most, whatever it would inflate to
    except (*_ZIP_ERRORS, KeyError) as error:
        return Missing(f"source: cannot be read from the zip ({error})")
