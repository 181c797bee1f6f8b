"""Images in a flat folder or a tar, labelled by a list: a listed name without an image is a sample that fails."""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipelines.errors import UsageError
from pipelines.generate.sources.base import (
    BROKEN,
    IMAGE_SUFFIXES,
    UNKNOWN_LABEL,
    Listing,
    Missing,
    Names,
    Sample,
    is_image,
    key_of,
    some,
)
from pipelines.generate.sources.labels import LabelList
from pipelines.generate.sources.members import Member, read_members
from pipelines.generate.sources.reading import Spread, here, read_files
from pipelines.generate.sources.tars import list_tars
from pipelines.store import Place
from pipelines.text import number_of

# An image file's name, size and place.
_File = tuple[str, int, tuple[object, ...]]


def images_in(folder: Place) -> Iterator[_File]:
    """The images in a folder, and the broken links with an image's name."""
    inside = folder.contents()
    yield from ((name, size, (name,)) for name, size in inside.files.items() if is_image(name))
    yield from ((name, 0, BROKEN) for name in inside.broken if is_image(name))


@dataclass(frozen=True)
class FlatSource:
    """Images in one folder, labelled by a list. A listed name without a file is a sample that fails."""

    root: Place
    labels: LabelList
    kind: str = "imagenet-flat"

    def listing(self) -> Listing:
        return _labelled(images_in(self.root), self.labels)

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        return read_files(self.root, samples)


def _labelled(files: Iterable[_File], labels: LabelList) -> Listing:
    """Samples for files (name, size, place), and for the listed names that have none.

    Raises UsageError if the list labels none of the files.
    """
    notes: list[str] = []
    return Listing(_label_all(files, labels, notes), notes)


def _label_all(files: Iterable[_File], labels: LabelList, notes: list[str]) -> Iterator[Sample]:
    found = 0
    unknown = Names()
    absent = dict(labels.by_key)
    for name, size, place in files:
        key = key_of(name)
        spelled = _spelled(key, labels)
        label = labels.label(spelled)
        absent.pop(spelled, None)
        found += 1
        if label is None:
            unknown.add(name)
        yield Sample(key, UNKNOWN_LABEL if label is None else label, name, size, place)
    if unknown.count == found:
        raise UsageError(
            f"{labels.path} has a label for none of the {number_of(found, 'image')}: is it the right list?"
        )
    yield from (Sample(key, label, key, 0, ()) for key, label in absent.items())
    if len(labels.by_number) > found:
        listed = number_of(len(labels.by_number), "label")
        notes.append(f"{labels.path} has {listed}, but the source has {number_of(found, 'image')}")
    if absent:
        notes.append(f"{labels.path} lists {Names(absent)} missing from the source: counted as failed")
    if unknown:
        notes.append(f"{labels.path} has no label for {unknown}: labelled {UNKNOWN_LABEL}")


def _spelled(key: str, labels: LabelList) -> str:
    """A key as the list spells it: Macs store an accented letter as two characters, but lists have it as one."""
    forms = [key] if key.isascii() else [key, *(unicodedata.normalize(form, key) for form in ("NFC", "NFD"))]
    return next((form for form in forms if labels.label(form) is not None), key)


@dataclass(frozen=True)
class TarSource:
    """The official `ILSVRC2012_img_val.tar` (or any tar of images), labelled by a list."""

    files: tuple[Place, ...]
    labels: LabelList
    notes: tuple[str, ...] = ()
    kind: str = "imagenet-tar"

    def listing(self, spread: Spread = here) -> Listing:
        found = itertools.chain.from_iterable(map(self._images, self.files, list_tars(self.files, spread)))
        listing = _labelled(some(found, f"no images in {self.files[0]}"), self.labels)
        listing.notes.extend(self.notes)
        return listing

    def _images(self, file: Place, members: Iterable[Member]) -> list[_File]:
        found: list[_File] = []
        for member in members:
            if member.suffix == ".cls":
                raise UsageError(
                    f"--labels {self.labels.path} is not needed, since {file} has .cls members: leave it out"
                )
            if member.suffix in IMAGE_SUFFIXES:
                found.append((os.path.basename(member.name), member.size, member.place))
        return found

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        return read_members(self.files, samples)
