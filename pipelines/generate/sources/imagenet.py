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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from manifests.untrusted import Tar
from pipelines.errors import UsageError
from pipelines.generate.sources.base import (
    ABSENT,
    IMAGE_SUFFIXES,
    UNKNOWN_LABEL,
    Listing,
    Missing,
    Sample,
    Source,
    key_of,
    oversized,
    read_sample,
    some,
    unreadable,
)
from pipelines.generate.sources.labels import CLASSES, LabelList, label_by_synset, read_labels
from pipelines.generate.sources.parquet import ParquetSource

_SYNSET = re.compile(r"n\d{8}")


def open_imagenet(path: Path, labels: Path | None) -> Source:
    """The source at `path`, in whichever layout it is. Raises UsageError where there is none."""
    if path.is_file():
        files, kind = [path], path.suffix.lower()
    else:
        files, kind = _archives(path)
    if kind == ".parquet":
        _no_labels(labels, "a Parquet file holds its own labels")
        return ParquetSource(tuple(map(str, files)))
    if kind == ".tar":
        return _open_tars(files, labels)
    if path.is_file():
        raise UsageError(f"--source {path} is neither a folder nor a .tar or .parquet file")
    return _open_folder(path, labels)


def _archives(folder: Path) -> tuple[list[Path], str]:
    """The Parquet or tar files in a folder and their suffix; of a Hub dataset (`data/`), the validation split's."""
    for place, suffix in ((folder, ".parquet"), (folder / "data", ".parquet"), (folder, ".tar")):
        entries = place.iterdir() if place.is_dir() else ()
        files = sorted(entry for entry in entries if entry.suffix.lower() == suffix and entry.is_file())
        if files:
            return [file for file in files if file.name.startswith("validation")] or files, suffix
    return [], ""


def _no_labels(labels: Path | None, why: str) -> None:
    if labels is not None:
        raise UsageError(f"--labels {labels} is not needed, since {why}: leave it out")


def _open_folder(path: Path, labels: Path | None) -> Source:
    if any(_SYNSET.fullmatch(entry.name) and entry.is_dir() for entry in _entries(path)):
        _no_labels(labels, "the class folders name the labels")
        return TreeSource(str(path))
    if not any(_is_image(entry) for entry in _entries(path)):
        raise UsageError(f"no images in {path}: expected class folders (n01440764/…), images, .tar or .parquet files")
    if labels is None:
        raise UsageError(f"{path} is a flat folder, which says nothing of labels: give a `name label` list by --labels")
    return FlatSource(str(path), read_labels(labels))


def _open_tars(files: Sequence[Path], labels: Path | None) -> Source:
    index = [member for file in files for member in _members(file)]
    if any(member.suffix == ".cls" for member in index):
        _no_labels(labels, "the tars hold .cls members")
        return WebDatasetSource(tuple(map(str, files)))
    if not any(member.suffix in IMAGE_SUFFIXES for member in index):
        raise UsageError(f"no images in {files[0]}")
    if labels is None:
        raise UsageError(
            f"{files[0]} holds no labels: give a `name label` list or the devkit's ground truth by --labels"
        )
    return TarSource(tuple(map(str, files)), read_labels(labels))


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(IMAGE_SUFFIXES) and entry.is_file()


@dataclass(frozen=True)
class TreeSource:
    """`<synset>/<name>.JPEG`: the label is the folder's position among the 1000 sorted synsets."""

    root: str
    kind: str = "imagenet-tree"

    def listing(self) -> Listing:
        found = [
            Sample(key_of(entry.name), label, f"{synset}/{entry.name}", entry.stat().st_size, (entry.path,))
            for synset, label in self._classes()
            for entry in _entries(Path(self.root) / synset)
            if _is_image(entry)
        ]
        if not found:
            raise UsageError(f"no images in the class folders of {self.root}")
        others = sorted(entry.name for entry in _entries(self.root) if not _SYNSET.fullmatch(entry.name))
        return Listing(found, [f"ignored in {self.root}: {some(others)} (no class folder)"] if others else [])

    def _classes(self) -> Iterator[tuple[str, int]]:
        for entry in _entries(self.root):
            if entry.is_dir() and _SYNSET.fullmatch(entry.name):
                label = label_by_synset().get(entry.name)
                if label is None:
                    raise UsageError(f"{entry.path} is not one of ImageNet-1k's {CLASSES} synsets: move it elsewhere")
                yield entry.name, label

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        return map(read_sample, samples)


@dataclass(frozen=True)
class FlatSource:
    """Images in one folder, labelled by a list. A listed name without a file is a sample that fails."""

    root: str
    labels: LabelList
    kind: str = "imagenet-flat"

    def listing(self) -> Listing:
        files = [(e.name, e.stat().st_size, (e.path,)) for e in _entries(self.root) if _is_image(e)]
        return _labelled(files, self.labels)

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        return map(read_sample, samples)


def _labelled(files: Iterable[tuple[str, int, tuple[object, ...]]], labels: LabelList) -> Listing:
    """Samples for files (name, size, place), and for the names that are listed but not there.

    Raises UsageError where the list has a label for none of the files.
    """
    found = []
    unknown = []
    absent = dict(labels.by_key)
    for name, size, place in files:
        key = key_of(name)
        label = labels.label(key)
        absent.pop(key, None)
        if label is None:
            unknown.append(name)
        found.append(Sample(key, UNKNOWN_LABEL if label is None else label, name, size, place))
    if len(unknown) == len(found):
        raise UsageError(f"{labels.path} has a label for none of the {len(found):,} images: is it the right list?")
    found += [Sample(key, label, key, 0, ()) for key, label in absent.items()]
    notes = []
    if len(labels.by_number) > len(found):
        notes.append(f"{labels.path} has {len(labels.by_number):,} labels, the source {len(found):,} images")
    if absent:
        notes.append(f"{labels.path} lists {some(sorted(absent))} that the source does not have: counted as failed")
    if unknown:
        notes.append(f"{labels.path} has no label for {some(sorted(unknown))}: labelled {UNKNOWN_LABEL}")
    return Listing(found, notes)


@dataclass(frozen=True)
class _Member:
    """A regular file inside an uncompressed tar: where its bytes lie."""

    archive: str
    name: str
    offset: int
    size: int

    @property
    def suffix(self) -> str:
        return os.path.splitext(self.name)[1].lower()

    @property
    def place(self) -> tuple[object, ...]:
        return self.archive, self.offset


def _members(path: Path) -> Iterator[_Member]:
    try:
        with open(path, "rb") as file, Tar(file) as archive:
            for member in archive:
                if member.isreg():
                    yield _Member(str(path), member.name, member.offset_data, member.size)
    except tarfile.TarError as error:
        raise UsageError(f"{path} cannot be read as an uncompressed tar ({error}): unpack or fetch it again") from None


def _read_members(samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
    """The bytes of samples whose place is (archive, offset), an archive opened once for a run of samples."""
    for archive, run in itertools.groupby(samples, key=lambda sample: sample.place[:1]):
        if not archive:
            yield from (ABSENT for _ in run)
            continue
        path = str(archive[0])
        try:
            with open(path, "rb") as file:
                for sample in run:
                    if refused := oversized(sample.size):
                        yield refused
                        continue
                    file.seek(sample.place[1])
                    data = file.read(sample.size)
                    whole = len(data) == sample.size
                    yield data if whole else Missing(f"source: {Path(path).name} ends inside this member")
        except OSError as error:
            raise unreadable(path, error) from None


@dataclass(frozen=True)
class TarSource:
    """The official `ILSVRC2012_img_val.tar` (or any tar of images), labelled by a list."""

    files: tuple[str, ...]
    labels: LabelList
    kind: str = "imagenet-tar"

    def listing(self) -> Listing:
        members = [m for file in self.files for m in _members(Path(file)) if m.suffix in IMAGE_SUFFIXES]
        return _labelled(((os.path.basename(m.name), m.size, m.place) for m in members), self.labels)

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        return _read_members(samples)


def _split(name: str) -> tuple[str, str]:
    """A member's key and extension by WebDataset's rule: the key ends at the first dot after the last slash."""
    folder, _, base = name.removeprefix("./").rpartition("/")
    stem, _, extension = base.partition(".")
    return (f"{folder}/{stem}" if folder else stem), extension.lower()


@dataclass(frozen=True)
class WebDatasetSource:
    """WebDataset tars with an image and a `cls` member for each key."""

    files: tuple[str, ...]
    kind: str = "imagenet-webdataset"

    def listing(self) -> Listing:
        found: list[Sample] = []
        ignored: list[str] = []
        for file in self.files:
            images: dict[str, _Member] = {}
            labels: dict[str, int] = {}
            for member in _members(Path(file)):
                key, extension = _split(member.name)
                if f".{extension}" in IMAGE_SUFFIXES:
                    if key in images:
                        raise UsageError(
                            f"{file} holds two images for the key {key}: {images[key].name}, {member.name}"
                        )
                    images[key] = member
                elif extension == "cls":
                    labels[key] = self._label(member)
                elif member.suffix in IMAGE_SUFFIXES:
                    ignored.append(member.name)
            for key, member in images.items():
                label = labels.get(key, UNKNOWN_LABEL)
                path = f"{Path(file).name}/{member.name}"
                found.append(Sample(re.sub("[/.]", "_", key), label, path, member.size, member.place))
        unknown = sorted(sample.key for sample in found if sample.label == UNKNOWN_LABEL)
        notes = [f"no label for {some(unknown)}: labelled {UNKNOWN_LABEL}"] if unknown else []
        if ignored:
            notes.append(f"ignored: {some(ignored)} (a key ends at the first dot, and no such image follows it)")
        return Listing(found, notes)

    def _label(self, member: _Member) -> int:
        with open(member.archive, "rb") as file:
            file.seek(member.offset)
            text = file.read(min(member.size, 16)).decode("ascii", "replace").strip()
        if re.fullmatch(r"-?\d{1,4}", text) and UNKNOWN_LABEL <= int(text) < CLASSES:
            return int(text)
        raise UsageError(f"{member.archive}: {member.name} holds {text!r}, not a label from 0 to {CLASSES - 1}")

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        return _read_members(samples)
