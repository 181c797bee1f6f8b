"""WebDataset tars: samples by key, with labels from `cls` or `json` members."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipelines.errors import UsageError
from pipelines.generate.sources.base import (
    COMMON_SUFFIXES,
    IMAGE_SUFFIXES,
    UNKNOWN_LABEL,
    Listing,
    Missing,
    Names,
    Sample,
    some,
)
from pipelines.generate.sources.labels import CLASSES
from pipelines.generate.sources.members import Member, key_and_extension, read_members
from pipelines.generate.sources.reading import Spread, here
from pipelines.generate.sources.tars import list_tars
from pipelines.store import Place

# The text kept from a `json` member that states a label.
_LABEL = re.compile(rb"-?\d{1,3}")
# Replaces characters in a key that separate folders or end a key.
_FLAT = str.maketrans("/.", "__")


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
