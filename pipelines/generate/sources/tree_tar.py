"""A tar of class folders, or one tar for each class: what a tree of class folders becomes when it is packed.

A tar named after a synset has the images of that class, like the tars inside the official tar of the training images.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipelines.errors import UsageError
from pipelines.generate.sources.base import Listing, Missing, Names, Sample, is_image, key_of, listed
from pipelines.generate.sources.classes import check_classes, class_of, is_synset, label_of, longer_keys
from pipelines.generate.sources.members import key_and_extension, members_of, read_members
from pipelines.generate.sources.reading import Spread, here
from pipelines.generate.sources.tars import list_tars
from pipelines.store import Place


@dataclass(frozen=True)
class TreeTarSource:
    """Tars of class folders, `val/n01440764/ILSVRC2012_val_00000293.JPEG`, or one for each class, `n01440764.tar`."""

    files: tuple[Place, ...]
    notes: tuple[str, ...] = ()
    kind: str = "imagenet-tree-tar"

    def listing(self, spread: Spread = here) -> Listing:
        notes = [*self.notes]
        return Listing(self._samples(notes, spread), notes, longer_keys=_longer_keys)

    def _samples(self, notes: list[str], spread: Spread) -> Iterator[Sample]:
        images: dict[str, int] = {}
        places: set[str] = set()
        others = Names()
        for number, members in enumerate(list_tars(self.files, spread)):
            whole = class_in(self.files[number].name)
            for member in members:
                place, name = class_of(member.name)
                name = name or whole
                if name:
                    places.add(place)
                    images[name] = images.get(name, 0) + is_image(member.name)
                if not name or not is_image(member.name):
                    others.add(member.name)
                    continue
                path = f"{self.files[number].name}/{member.name}"
                yield Sample(key_of(member.name), label_of(name), path, member.size, member.place)
        if len(places) > 1:
            raise UsageError(
                f"{self.files[0]} has class folders in more than one place ({listed(sorted(places))}): unpack it, and "
                "give the folder of one of them as --source"
            )
        notes += check_classes(images, str(self.files[0]))
        if others:
            notes.append(f"skipped in {self.files[0]}: {others} (not images in a class folder)")
        if empty := sorted(name for name, count in images.items() if not count):
            notes.append(f"no images in the class folder{'s' if len(empty) > 1 else ''} {listed(empty)}")

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        return read_members(self.files, samples)


def class_in(tar: str) -> str:
    """The synset that a tar is named after; empty if it is not."""
    stem = PurePosixPath(tar).stem
    return stem if is_synset(stem) else ""


def _longer_keys(path: str) -> Sequence[str]:
    tar, _, member = path.partition("/")
    return longer_keys(f"{PurePosixPath(tar).stem}/{member}")


def holds_classes(file: Place) -> bool:
    """Whether a tar has class folders, or is named after a class: its first image is in one, and has no label.

    Raises UsageError for a tar of such tars.
    """
    before, first = "", None
    with contextlib.closing(members_of(file, 0)) as members:
        for member in members:
            key, extension = key_and_extension(member.name)
            if first is not None:
                return key != first
            if extension == "tar" and class_in(member.name):
                raise UsageError(
                    f"{file} has a tar for each class: unpack it (tar -xf {file.name} -C FOLDER), and give the "
                    "folder as --source"
                )
            if is_image(member.name):
                if not (class_of(member.name)[1] or class_in(file.name)) or key == before:
                    return False
                first = key
            before = key
    return first is not None
