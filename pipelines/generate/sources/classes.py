"""Class folders: which names are classes, the label of each, and keys that distinguish their images.

A class folder is named by a synset (`n01440764`), whose label is its position among the 1000, or by the label itself
(`0` to `999`, as in ImageNetV2). Refuses a mixture of both kinds, and numbers that count from 1, whose meaning is
ambiguous.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from pipelines.errors import UsageError
from pipelines.generate.sources.base import UNKNOWN_LABEL, key_of
from pipelines.generate.sources.labels import CLASSES, label_by_synset

_SYNSET = re.compile(r"n[0-9]{8}")
_NUMBER = re.compile(r"[0-9]{1,4}")


def is_synset(name: str) -> bool:
    """Whether a folder's name has a synset's form, whether or not it is one of the 1000."""
    return bool(_SYNSET.fullmatch(name))


def is_class(name: str) -> bool:
    """Whether a folder's name has a class's form."""
    return is_synset(name) or bool(_NUMBER.fullmatch(name))


def class_names(names: Iterable[str]) -> list[str]:
    """The names that are classes. Numbers are not if none of them is near a label, as with years."""
    found = [name for name in names if is_class(name)]
    numbered = any(not is_synset(name) and int(name) <= CLASSES for name in found)
    return [name for name in found if numbered or is_synset(name)]


def class_of(path: str) -> tuple[str, str]:
    """The class that a file belongs to: the parent of its nearest folder that is named like a class, and that name.

    The name is empty if there is no such folder.
    """
    folders = path.split("/")[:-1]
    while folders and not is_class(folders[-1]):
        folders.pop()
    return "/".join(folders[:-1]), folders[-1] if folders else ""


def label_of(name: str) -> int:
    """A class's label, -1 for an unknown synset. `check_classes` has refused invalid names."""
    return label_by_synset().get(name, UNKNOWN_LABEL) if is_synset(name) else int(name)


def check_classes(names: Iterable[str], where: str) -> list[str]:
    """Notes about these classes for the user, one line each. Raises UsageError if their labels are ambiguous."""
    synsets: set[str] = set()
    numbers: dict[int, str] = {}
    for name in sorted(names):
        if is_synset(name):
            synsets.add(name)
        elif (other := numbers.setdefault(int(name), name)) != name:
            raise UsageError(
                f"{where} has two folders for the label {int(name)}, {other} and {name}: rename one of them"
            )
    if synsets and numbers:
        raise UsageError(
            f"{where} has two kinds of class folders, {min(synsets)} and {numbers[min(numbers)]}: "
            "move one kind elsewhere"
        )
    if unknown := sorted(synsets - label_by_synset().keys()):
        raise UsageError(f"{where}/{unknown[0]} is not one of ImageNet-1k's {CLASSES} synsets: move it elsewhere")
    if CLASSES in numbers and 0 not in numbers:
        raise UsageError(
            f"{where} has class folders that count from 1 to {CLASSES}, but labels are 0 to {CLASSES - 1}: they may be "
            "labels plus 1 or the devkit's ILSVRC2012_IDs, so rename them to labels or synsets"
        )
    if beyond := [name for number, name in numbers.items() if number >= CLASSES]:
        raise UsageError(f"{where}/{beyond[0]} is not a label from 0 to {CLASSES - 1}: move it elsewhere")
    if numbers and 0 not in numbers:
        return [f"the class folders in {where} are taken as the labels {min(numbers)} to {max(numbers)}, with no 0"]
    return []


def longer_keys(path: str) -> Sequence[str]:
    """Keys for an image that shares its stem with another: `<class>_<stem>`, and `<class>_<stem>_<suffix>`.

    Neither classes nor suffixes contain an underscore, so images with the same key share class, stem and suffix.
    """
    key = f"{class_of(path)[1]}_{key_of(path)}"
    return key, f"{key}_{PurePosixPath(path).suffix[1:]}"
