"""ImageNet validation images in the layouts that people have them in.

A tree of class folders, a flat folder with a `name label` list, the official tar with such a list or the devkit's
ground truth, Parquet as on the Hub, and WebDataset tars. The layout is found by looking; what cannot be told apart
is refused with a line that says what is needed.
"""

from __future__ import annotations

import itertools
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from manifests.untrusted import Tar
from pipelines.errors import UsageError
from pipelines.generate.sources.base import (
    ABSENT,
    IMAGE_SUFFIXES,
    UNKNOWN_LABEL,
    Listing,
    Missing,
    Names,
    Sample,
    Source,
    key_of,
    oversized,
    some,
)
from pipelines.generate.sources.labels import CLASSES, LabelList, label_by_synset, label_in_json, read_labels
from pipelines.generate.sources.parquet import ParquetSource, arrow_as_parquet
from pipelines.generate.sources.reading import Piece, in_order, read_files, read_pieces
from pipelines.generate.sources.splits import Archives, find_archives
from pipelines.store import Place

_SYNSET = re.compile(r"n\d{8}")
# Bytes of a `.cls` member that are looked at: a label has three digits.
_LONGEST_LABEL = 16
# Bytes of a `json` member that is looked at: ImageNet's have some hundreds.
_LONGEST_DESCRIPTION = 2**16


def open_imagenet(root: Place, labels: Place | None) -> Source:
    """The source at `root`, in whichever layout it is. Raises UsageError where there is none."""
    single = root.is_file()
    files, kind, notes = Archives((root,), root.suffix, ()) if single else find_archives(root)
    if kind == ".parquet":
        _no_labels(labels, "a Parquet file holds its own labels")
        return ParquetSource(files, notes)
    if kind == ".tar":
        return TarSource(files, read_labels(labels), notes) if labels else WebDatasetSource(files, notes)
    if kind == ".arrow":
        raise UsageError(arrow_as_parquet(root if single else files[0].parent))
    if single:
        raise UsageError(f"--source {root} is neither a folder nor a .tar or .parquet file")
    return _open_folder(root, labels)


def _no_labels(labels: Place | None, why: str) -> None:
    if labels is not None:
        raise UsageError(f"--labels {labels} is not needed, since {why}: leave it out")


def _open_folder(root: Place, labels: Place | None) -> Source:
    if any(map(_SYNSET.fullmatch, root.folders())):
        _no_labels(labels, "the class folders name the labels")
        return TreeSource(root)
    if not _images(root):
        raise UsageError(f"no images in {root}: expected class folders (n01440764/…), images, .tar or .parquet files")
    if labels is None:
        raise UsageError(f"{root} is a flat folder, which says nothing of labels: give a `name label` list by --labels")
    return FlatSource(root, read_labels(labels))


def _images(folder: Place) -> dict[str, int]:
    return {name: size for name, size in folder.files().items() if name.lower().endswith(IMAGE_SUFFIXES)}


@dataclass(frozen=True)
class TreeSource:
    """`<synset>/<name>.JPEG`: the label is the folder's position among the 1000 sorted synsets."""

    root: Place
    kind: str = "imagenet-tree"

    def listing(self) -> Listing:
        folders = self.root.folders()
        classes = [name for name in folders if _SYNSET.fullmatch(name)]
        unknown = [name for name in classes if name not in label_by_synset()]
        if unknown:
            raise UsageError(
                f"{self.root / unknown[0]} is not one of ImageNet-1k's {CLASSES} synsets: move it elsewhere"
            )
        others = Names({*folders, *self.root.files()} - {*classes})
        found = itertools.chain.from_iterable(in_order(self.root, classes, self._class))
        notes = [f"ignored in {self.root}: {others} (no class folder)"] if others else []
        return Listing(some(found, f"no images in the class folders of {self.root}"), notes)

    def _class(self, synset: str) -> list[Sample]:
        label = label_by_synset()[synset]
        paths = ((name, f"{synset}/{name}", size) for name, size in _images(self.root / synset).items())
        return [Sample(key_of(name), label, path, size, (path,)) for name, path, size in paths]

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        return read_files(self.root, samples)


@dataclass(frozen=True)
class FlatSource:
    """Images in one folder, labelled by a list. A listed name without a file is a sample that fails."""

    root: Place
    labels: LabelList
    kind: str = "imagenet-flat"

    def listing(self) -> Listing:
        return _labelled(((name, size, (name,)) for name, size in _images(self.root).items()), self.labels)

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        return read_files(self.root, samples)


def _labelled(files: Iterable[tuple[str, int, tuple[object, ...]]], labels: LabelList) -> Listing:
    """Samples for files (name, size, place), and for the names that are listed but not there.

    Raises UsageError where the list has a label for none of the files.
    """
    notes: list[str] = []
    return Listing(_label_all(files, labels, notes), notes)


def _label_all(
    files: Iterable[tuple[str, int, tuple[object, ...]]], labels: LabelList, notes: list[str]
) -> Iterator[Sample]:
    found = 0
    unknown = Names()
    absent = dict(labels.by_key)
    for name, size, place in files:
        key = key_of(name)
        label = labels.label(key)
        absent.pop(key, None)
        found += 1
        if label is None:
            unknown.add(name)
        yield Sample(key, UNKNOWN_LABEL if label is None else label, name, size, place)
    if unknown.count == found:
        raise UsageError(f"{labels.path} has a label for none of the {found:,} images: is it the right list?")
    yield from (Sample(key, label, key, 0, ()) for key, label in absent.items())
    if len(labels.by_number) > found:
        notes.append(f"{labels.path} has {len(labels.by_number):,} labels, the source {found:,} images")
    if absent:
        notes.append(f"{labels.path} lists {Names(absent)} that the source does not have: counted as failed")
    if unknown:
        notes.append(f"{labels.path} has no label for {unknown}: labelled {UNKNOWN_LABEL}")


class _Member(NamedTuple):
    """A regular file inside an uncompressed tar: where its bytes lie, and the first of them where it is a label."""

    name: str
    place: tuple[int, int]
    size: int
    text: bytes

    @property
    def suffix(self) -> str:
        return os.path.splitext(self.name)[1].lower()


def _members(place: Place, number: int) -> Iterator[_Member]:
    """The members of the tar at `place`, which is the source's file of that number."""
    try:
        with place.open() as file, Tar(file) as archive:
            for member in archive:
                if member.isreg():
                    text = archive.extractfile(member) if member.name.lower().endswith(".cls") else None
                    head = text.read(_LONGEST_LABEL) if text else b""
                    yield _Member(member.name, (number, member.offset_data), member.size, head)
    except tarfile.TarError as error:
        raise UsageError(f"{place} cannot be read as an uncompressed tar ({error}): unpack or fetch it again") from None


def _read_members(files: Sequence[Place], samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
    """The bytes of samples whose place is (number of a tar, offset), or empty."""
    refused = [oversized(sample.size) if sample.place else ABSENT for sample in samples]
    wanted = [sample for sample, why in zip(samples, refused, strict=True) if not why]
    fetched = read_pieces(files, (Piece(sample.place[0], sample.place[1], sample.size) for sample in wanted))
    for sample, why in zip(samples, refused, strict=True):
        if why:
            yield why
            continue
        data = next(fetched)
        whole = len(data) == sample.size
        yield data if whole else Missing(f"source: {files[sample.place[0]].name} ends inside this member")


@dataclass(frozen=True)
class TarSource:
    """The official `ILSVRC2012_img_val.tar` (or any tar of images), labelled by a list."""

    files: tuple[Place, ...]
    labels: LabelList
    notes: tuple[str, ...] = ()
    kind: str = "imagenet-tar"

    def listing(self) -> Listing:
        found = itertools.chain.from_iterable(in_order(self.files[0], range(len(self.files)), self._images))
        listing = _labelled(some(found, f"no images in {self.files[0]}"), self.labels)
        listing.notes.extend(self.notes)
        return listing

    def _images(self, number: int) -> list[tuple[str, int, tuple[object, ...]]]:
        found: list[tuple[str, int, tuple[object, ...]]] = []
        for member in _members(self.files[number], number):
            if member.suffix == ".cls":
                raise UsageError(
                    f"--labels {self.labels.path} is not needed, since {self.files[number]} holds .cls members: "
                    "leave it out"
                )
            if member.suffix in IMAGE_SUFFIXES:
                found.append((os.path.basename(member.name), member.size, member.place))
        return found

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        return _read_members(self.files, samples)


def _split(name: str) -> tuple[str, str]:
    """A member's key and extension by WebDataset's rule: the key ends at the first dot after the last slash."""
    folder, _, base = name.removeprefix("./").rpartition("/")
    stem, _, extension = base.partition(".")
    return (f"{folder}/{stem}" if folder else stem), extension.lower()


@dataclass(frozen=True)
class WebDatasetSource:
    """WebDataset tars with an image and a `cls` member for each key; in a tar without any, a `json` member's label."""

    files: tuple[Place, ...]
    notes: tuple[str, ...] = ()
    kind: str = "imagenet-webdataset"

    def listing(self) -> Listing:
        notes = [*self.notes]
        return Listing(some(self._samples(notes), f"no images in {self.files[0]}"), notes)

    def _samples(self, notes: list[str]) -> Iterator[Sample]:
        labels = 0
        unknown, ignored = Names(), Names()
        for tar in in_order(self.files[0], range(len(self.files)), self._tar):
            labels += tar.labels
            for name in tar.ignored:
                ignored.add(name)
            for sample in tar.samples:
                if sample.label == UNKNOWN_LABEL:
                    unknown.add(sample.key)
                yield sample
        if unknown and not labels:
            raise UsageError(
                f"{self.files[0]} holds no labels: give a `name label` list or the devkit's ground truth by --labels"
            )
        if unknown:
            notes.append(f"no label for {unknown}: labelled {UNKNOWN_LABEL}")
        if ignored:
            notes.append(f"ignored: {ignored} (a key ends at the first dot, and no such image follows it)")

    def _tar(self, number: int) -> _Tar:
        file = self.files[number]
        images: dict[str, _Member] = {}
        labels: dict[str, int] = {}
        described: dict[str, _Member] = {}
        ignored: list[str] = []
        for member in _members(file, number):
            key, extension = _split(member.name)
            if f".{extension}" in IMAGE_SUFFIXES:
                if key in images:
                    raise UsageError(f"{file} holds two images for the key {key}: {images[key].name}, {member.name}")
                images[key] = member
            elif extension == "cls":
                labels[key] = _label(file, member)
            elif extension == "json":
                described[key] = member
            elif member.suffix in IMAGE_SUFFIXES:
                ignored.append(member.name)
        if not labels:
            labels = self._described(described)
        samples = [
            Sample(
                re.sub("[/.]", "_", key),
                labels.get(key, UNKNOWN_LABEL),
                f"{file.name}/{member.name}",
                member.size,
                member.place,
            )
            for key, member in images.items()
        ]
        return _Tar(samples, len(labels), ignored)

    def _described(self, members: Mapping[str, _Member]) -> dict[str, int]:
        """The labels in `json` members, by key."""
        held = {key: member for key, member in members.items() if member.size <= _LONGEST_DESCRIPTION}
        texts = read_pieces(self.files, (Piece(*member.place, member.size) for member in held.values()))
        found: dict[str, int] = {}
        for (key, member), text in zip(held.items(), texts, strict=True):
            try:
                label = label_in_json(text)
            except ValueError as error:
                raise UsageError(f"{self.files[member.place[0]]}: {member.name} {error}") from None
            if label is not None:
                found[key] = label
        return found

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        return _read_members(self.files, samples)


class _Tar(NamedTuple):
    """What a tar holds: its samples, how many labels, and the images that belong to no sample."""

    samples: list[Sample]
    labels: int
    ignored: list[str]


def _label(file: Place, member: _Member) -> int:
    text = member.text.decode("ascii", "replace").strip()
    if re.fullmatch(r"-?\d{1,4}", text) and UNKNOWN_LABEL <= int(text) < CLASSES:
        return int(text)
    raise UsageError(f"{file}: {member.name} holds {text!r}, not a label from 0 to {CLASSES - 1}")
