"""COCO validation images: a folder or a zip, with a COCO-format annotation file that says their ids.

Boxes, classes and masks stay in the annotation file, in source pixels: it is named in the manifest with its sha256, and
remains the ground truth. Any COCO-format file will do; nothing depends on COCO's own ids or classes.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from manifests.untrusted import parse_json, read_at_most
from pipelines.errors import UsageError
from pipelines.generate.sources.base import (
    ABSENT,
    IMAGE_SUFFIXES,
    LARGEST_IMAGE,
    UNKNOWN_LABEL,
    Listing,
    Missing,
    Sample,
    key_of,
    oversized,
    read_sample,
    some,
    unreadable,
)

UNKNOWN_IMAGE = -1
# Bytes. COCO's largest file, of the training images, has 448 million.
_LARGEST_ANNOTATIONS = 2**30
_LARGEST_ID = 2**63
# Others take memory without a bound to be unpacked.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What a damaged zip makes Python's reader raise.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, OverflowError, RuntimeError)


@dataclass(frozen=True)
class Annotations:
    """What is needed of an annotation file: its name and sha256, image ids by file name, and what is odd in it."""

    name: str
    sha256: str
    ids: Mapping[str, int]
    notes: tuple[str, ...]


def read_annotations(path: Path) -> Annotations:
    """Read a COCO-format file. Raises UsageError where it is none."""
    try:
        with open(path, "rb") as file:
            data = read_at_most(file, _LARGEST_ANNOTATIONS)
        content = parse_json(data)
    except (OSError, ValueError) as error:
        raise UsageError(f"the annotations in {path} cannot be read ({error})") from None
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not images:
        raise UsageError(f"{path} has no list of `images`: is it a COCO-format annotation file?")
    ids: dict[str, int] = {}
    for place, image in enumerate(images, 1):
        name, number = _image(path, place, image)
        if ids.setdefault(name, number) != number:
            raise UsageError(f"{path} gives {name} two ids, {ids[name]} and {number}")
    known = set(ids.values())
    annotations = content.get("annotations")
    strays = [a for a in annotations if _stray(a, known)] if isinstance(annotations, list) else []
    note = f"{path} has {len(strays):,} annotations of images that it does not list: no sample will have them"
    return Annotations(path.name, hashlib.sha256(data).hexdigest(), ids, (note,) if strays else ())


def _image(path: Path, place: int, image: Any) -> tuple[str, int]:
    name = image.get("file_name") if isinstance(image, dict) else None
    number = image.get("id") if isinstance(image, dict) else None
    if not isinstance(name, str) or type(number) is not int or abs(number) >= _LARGEST_ID:
        raise UsageError(f"{path} has an image without `file_name` or integer `id`: the {place:,}. of its `images`")
    return PurePosixPath(name).name, number


def _stray(annotation: Any, known: set[int]) -> bool:
    number = annotation.get("image_id") if isinstance(annotation, dict) else None
    return type(number) is not int or number not in known


def _is_zip(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except _ZIP_ERRORS:
        return False


def open_coco(path: Path, annotations: Path | None) -> CocoSource:
    """The images at `path`, a folder or a zip. Raises UsageError where there are none."""
    if annotations is None:
        raise UsageError("--dataset coco needs --annotations FILE, as instances_val2017.json")
    if not path.is_dir() and not _is_zip(path):
        raise UsageError(f"--source {path} is neither a folder of images nor a zip of them")
    return CocoSource(str(path), str(annotations), "coco-folder" if path.is_dir() else "coco-zip")


@dataclass(frozen=True)
class CocoSource:
    """COCO images with their ids. An image that the annotations list and the source lacks is a sample that fails."""

    root: str
    annotations: str
    kind: str

    def listing(self) -> Listing:
        """The samples; those that the annotations do not know get image id -1."""
        annotations = read_annotations(Path(self.annotations))
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
            with os.scandir(self.root) as entries:
                files = [(e.name, e.stat().st_size, (e.path,)) for e in entries if e.is_file()]
            yield from (file for file in files if file[0].lower().endswith(IMAGE_SUFFIXES))
        else:
            yield from _zipped(self.root)

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        """The bytes of the samples; a zip is opened once."""
        if self.kind == "coco-folder":
            yield from map(read_sample, samples)
        else:
            yield from _unzip(self.root, samples)


def _sample(name: str, image_id: int, size: int, place: tuple[Any, ...]) -> Sample:
    return Sample(key_of(name), UNKNOWN_LABEL, name, size, place, (("image_id", image_id),))


def _zipped(path: str) -> Iterable[tuple[str, int, tuple[Any, ...]]]:
    found: dict[str, tuple[str, int, tuple[Any, ...]]] = {}
    try:
        with _Sparing(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                name = PurePosixPath(member.filename).name
                if not name.lower().endswith(IMAGE_SUFFIXES) or member.is_dir():
                    continue
                if name in found:
                    raise UsageError(f"{path} holds two images called {name}: rename one of them")
                found[name] = name, member.file_size, (member.filename,)
    except _ZIP_ERRORS as error:
        raise UsageError(f"{path} cannot be read as a zip ({error}): fetch it again") from None
    return found.values()


class _Sparing(io.BufferedReader):
    """A file of which no more is read at once than an image may have: a zip's directory may claim any size."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > LARGEST_IMAGE:
            raise zipfile.BadZipFile(f"a directory of {size:,} bytes")
        return super().read(size)


def _unzip(path: str, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
    try:
        with _Sparing(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
            for sample in samples:
                yield _extract(archive, sample) if sample.place else ABSENT
    except (OSError, *_ZIP_ERRORS) as error:
        raise unreadable(path, error) from None


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
