"""ImageNet images, of the validation or the training split, in the layouts in common use.

A tree of class folders, one tar or one for each class, a flat folder with a `name label` list, the official tar with
such a list or the devkit's ground truth, Parquet as on the Hub, and WebDataset tars. The layout is detected; what is
ambiguous is refused with a line that says what is needed.
"""

from __future__ import annotations

import itertools
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from manifests.splits import TRAIN, VALIDATION
from pipelines.errors import UsageError
from pipelines.generate.sources.base import (
    BROKEN,
    COMMON_SUFFIXES,
    IMAGE_SUFFIXES,
    UNKNOWN_LABEL,
    Listing,
    Missing,
    Names,
    Sample,
    Source,
    counted,
    is_image,
    key_of,
    some,
)
from pipelines.generate.sources.classes import class_names, is_synset
from pipelines.generate.sources.labels import CLASSES, LabelList, read_labels
from pipelines.generate.sources.members import Member, key_and_extension, read_members
from pipelines.generate.sources.nearest import is_compressed, unpacking, way_on
from pipelines.generate.sources.parquet import ParquetSource, arrow_as_parquet
from pipelines.generate.sources.reading import Spread, here, read_files
from pipelines.generate.sources.splits import Archives, find_archives
from pipelines.generate.sources.tars import list_tars
from pipelines.generate.sources.tree import TreeSource
from pipelines.generate.sources.tree_tar import TreeTarSource, class_in, holds_classes
from pipelines.store import Place

# The text kept from a `json` member that states a label.
_LABEL = re.compile(rb"-?\d{1,3}")
# Replaces characters in a key that separate folders or end a key.
_FLAT = str.maketrans("/.", "__")
# An image file's name, size and place.
_File = tuple[str, int, tuple[object, ...]]


def open_imagenet(root: Place, labels: Place | None, split: str = VALIDATION) -> Source:
    """The source of a split at `root`, in whichever layout it has. Raises UsageError if there is none."""
    single = root.is_file()
    if not single and _has_classes(root, labels):
        _no_labels(labels, "the class folders name the labels")
        return TreeSource(root)
    files, kind, notes = Archives((root,), root.suffix, ()) if single else find_archives(root, split)
    if kind == ".parquet":
        _no_labels(labels, "a Parquet file holds its own labels")
        return ParquetSource(files, notes)
    if kind == ".tar":
        if labels:
            return TarSource(files, read_labels(labels), notes)
        if holds_classes(files[0]):
            return TreeTarSource(files, (*notes, *_taken_split(files, split)))
        return WebDatasetSource(files, notes)
    if kind == ".arrow":
        raise UsageError(arrow_as_parquet(root if single else files[0].parent))
    if single:
        if is_compressed(root.name):
            raise UsageError(unpacking(root))
        raise UsageError(f"--source {root} is neither a folder nor a .tar or .parquet file")
    return _open_folder(root, labels, split)


def _has_classes(root: Place, labels: Place | None) -> bool:
    """Whether a folder is to be read as class folders.

    Synsets are recognised by name. Numbers can mean many things: such folders must contain images, and not be next to
    images that have labels.
    """
    names = class_names(root.folders())
    if any(map(is_synset, names)):
        return True
    tree = TreeSource(root)
    return any(tree.look_into(name).samples for name in names) and not (labels and any(_images(root)))


def _taken_split(files: Sequence[Place], split: str) -> list[str]:
    """A note if there is one tar for each class, since their names do not say which split they are of."""
    if not all(class_in(file.name) for file in files):
        return []
    other = TRAIN if split == VALIDATION else VALIDATION
    return [f"the tars of {files[0].parent} name no split: read as {split} (for the other, give --split {other})"]


def _no_labels(labels: Place | None, why: str) -> None:
    if labels is not None:
        raise UsageError(f"--labels {labels} is not needed, since {why}: leave it out")


def _open_folder(root: Place, labels: Place | None, split: str) -> Source:
    if not any(_images(root)):
        raise UsageError(
            f"no images in {root}: expected class folders (n01440764/… or 0/…), images, .tar or .parquet files"
            f"{way_on(root, split)}"
        )
    if labels is None:
        if class_names([root.name]):
            raise UsageError(f"{root} is itself a class folder: give its parent folder as --source")
        raise UsageError(f"{root} is a flat folder without labels: give a `name label` list with --labels")
    return FlatSource(root, read_labels(labels))


def _images(folder: Place) -> Iterator[_File]:
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
        return _labelled(_images(self.root), self.labels)

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
        raise UsageError(f"{labels.path} has a label for none of the {counted(found, 'image')}: is it the right list?")
    yield from (Sample(key, label, key, 0, ()) for key, label in absent.items())
    if len(labels.by_number) > found:
        listed = counted(len(labels.by_number), "label")
        notes.append(f"{labels.path} has {listed}, but the source has {counted(found, 'image')}")
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


@dataclass(frozen=True)
class WebDatasetSource:
    """WebDataset tars with an image and a `cls` member for each key, or a labelled `json` if a tar has no `cls`."""

    files: tuple[Place, ...]
    notes: tuple[str, ...] = ()
    kind: str = "imagenet-webdataset"

    def listing(self, spread: Spread = here) -> Listing:
        notes = [*self.notes]
        return Listing(some(self._samples(notes, spread), f"no images in {self.files[0]}"), notes)

    def _samples(self, notes: list[str], spread: Spread) -> Iterator[Sample]:
        labels = 0
        unknown, ignored = Names(), Names()
        for tar in map(_tar, self.files, list_tars(self.files, spread)):
            labels += tar.labels
            for name in tar.ignored:
                ignored.add(name)
            for sample in tar.samples:
                if sample.label == UNKNOWN_LABEL:
                    unknown.add(sample.key)
                yield sample
        if unknown and not labels:
            raise UsageError(
                f"{self.files[0]} has no labels: give a `name label` list or the devkit's ground truth with --labels"
            )
        if unknown:
            notes.append(f"no label for {unknown}: labelled {UNKNOWN_LABEL}")
        if ignored:
            notes.append(f"ignored: {ignored} (a key ends at the first dot, and has one image)")

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        return read_members(self.files, samples)


def _tar(file: Place, members: Iterable[Member]) -> _Tar:
    """The samples of a WebDataset tar, from its members."""
    images: dict[str, Member] = {}
    labels: dict[str, int] = {}
    described: dict[str, Member] = {}
    ignored: list[str] = []
    for member in members:
        key, extension = key_and_extension(member.name)
        if f".{extension}" in IMAGE_SUFFIXES:
            if key in images:
                member, other = _first_choice(file, key, images[key], member)
                ignored.append(other.name)
            images[key] = member
        elif extension == "cls":
            labels[key] = _label(file, member)
        elif extension == "json":
            described[key] = member
        elif member.suffix in IMAGE_SUFFIXES:
            ignored.append(member.name)
    if not labels:
        labels = _described(file, described)
    name = file.name
    samples = [
        Sample(
            key.translate(_FLAT),
            labels.get(key, UNKNOWN_LABEL),
            f"{name}/{member.name}",
            member.size,
            member.place,
        )
        for key, member in images.items()
    ]
    return _Tar(samples, len(labels), ignored)


def _described(file: Place, members: Mapping[str, Member]) -> dict[str, int]:
    """The labels in a tar's `json` members, by key."""
    found: dict[str, int] = {}
    for key, member in members.items():
        if member.text and not _LABEL.fullmatch(member.text):
            raise UsageError(f"{file}: {member.name} {member.text.decode()}")
        if member.text:
            found[key] = int(member.text)
    return found


def _first_choice(file: Place, key: str, *members: Member) -> tuple[Member, Member]:
    """Two images with the same key, the preferred one first. Raises UsageError if neither is preferred."""
    one, other = sorted(members, key=lambda member: member.suffix not in COMMON_SUFFIXES)
    if (one.suffix in COMMON_SUFFIXES) == (other.suffix in COMMON_SUFFIXES):
        raise UsageError(f"{file} has two images for the key {key}: {members[0].name}, {members[1].name}")
    return one, other


class _Tar(NamedTuple):
    """The content of a tar: its samples, its number of labels, and the images that belong to no sample."""

    samples: list[Sample]
    labels: int
    ignored: list[str]


def _label(file: Place, member: Member) -> int:
    text = member.text.decode("ascii", "replace").strip()
    if re.fullmatch(r"-?\d{1,4}", text) and UNKNOWN_LABEL <= int(text) < CLASSES:
        return int(text)
    raise UsageError(f"{file}: {member.name} is {text!r}, not a label from 0 to {CLASSES - 1}")
