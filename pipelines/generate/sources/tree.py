"""Images in class folders: `<class>/<name>.JPEG`, or `<class>/images/<name>.JPEG` as Tiny ImageNet has it.

Every file in a class folder is a sample or counted in a note, and classes without images are listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipelines.errors import UsageError
from pipelines.generate.sources.base import (
    BROKEN,
    Listing,
    Missing,
    Names,
    Sample,
    is_image,
    is_litter,
    key_of,
    listed,
)
from pipelines.generate.sources.classes import check_classes, class_names, is_class, label_of, longer_keys
from pipelines.generate.sources.nearest import is_archive, way_on
from pipelines.generate.sources.reading import in_order, read_files
from pipelines.store import Contents, Place

_INNER = "images"


@dataclass(frozen=True)
class TreeSource:
    """Class folders in one folder. A broken link is a sample that fails."""

    root: Place
    kind: str = "imagenet-tree"

    def listing(self) -> Listing:
        inside = self.root.contents()
        classes = class_names(inside.folders)
        notes = check_classes(classes, str(self.root))
        notes += _beside(self.root, classes, inside)
        return Listing(self._samples(classes, notes), notes, longer_keys=longer_keys)

    def _samples(self, classes: Sequence[str], notes: list[str]) -> Iterator[Sample]:
        others, empty = Names(), []
        for found in in_order(self.root, classes, self.look_into):
            for name in found.others:
                others.add(name)
            if not found.samples:
                empty.append(found.name)
            yield from found.samples
        if len(empty) == len(classes):
            raise UsageError(f"no images in the class folders of {self.root}{way_on(self.root)}")
        if others:
            notes.append(f"skipped in the class folders of {self.root}: {others}")
        if empty:
            notes.append(f"no images in the class folder{'s' if len(empty) > 1 else ''} {listed(empty)}")

    def look_into(self, name: str) -> ClassFolder:
        """The content of one class folder."""
        inside = (self.root / name).contents()
        others: list[str] = []
        samples = _sorted(name, name, inside, others)
        if not samples and _INNER in inside.folders:
            samples = _sorted(name, f"{name}/{_INNER}", (self.root / name / _INNER).contents(), others)
            others.remove(f"{name}/{_INNER}")
        return ClassFolder(name, samples, others)

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        return read_files(self.root, samples)


class ClassFolder(NamedTuple):
    """A class folder's name, its samples, and the paths of its other content."""

    name: str
    samples: list[Sample]
    others: list[str]


def _sorted(name: str, folder: str, inside: Contents, others: list[str]) -> list[Sample]:
    """A class's samples in a folder. Other content is added to `others`."""
    label = label_of(name)
    samples = []
    for file, size in inside.files.items():
        path = f"{folder}/{file}"
        if is_image(file):
            samples.append(Sample(key_of(file), label, path, size, (path,)))
        elif not is_litter(file):
            others.append(path)
    samples += [Sample(key_of(link), label, f"{folder}/{link}", 0, BROKEN) for link in inside.broken if is_image(link)]
    others += [f"{folder}/{each}" for each in inside.folders if not is_litter(each)]
    return samples


def _beside(root: Place, classes: Sequence[str], inside: Contents) -> list[str]:
    """Notes about what is next to the class folders."""
    notes = []
    others = sorted({*inside.folders, *inside.files} - {*classes})
    others = [name for name in others if not is_litter(name)]
    archives = [name for name in others if name in inside.files and is_archive(name)]
    if archives:
        notes.append(f"{root} has class folders and {listed(archives)}: only the folders are read")
    if ignored := Names(name for name in others if name not in archives):
        notes.append(f"skipped in {root}: {ignored} (not class folders)")
    if broken := [name for name in inside.broken if is_class(name)]:
        notes.append(f"class folders that are broken links: {listed(broken)}")
    return notes
