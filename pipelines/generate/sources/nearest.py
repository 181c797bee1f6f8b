"""Advice for messages about a folder without images.

Looks only as deep as people's folders are usually off, and at few folders: what is not found quickly is not mentioned.
"""

from __future__ import annotations

from collections.abc import Iterable

from manifests.splits import VALIDATION
from pipelines.generate.sources.archives import FORMATS
from pipelines.generate.sources.base import is_image, is_litter
from pipelines.generate.sources.classes import class_names, is_synset
from pipelines.generate.sources.compressed import COMPRESSED, is_compressed, unpacking
from pipelines.store import Place

_LEVELS, _MOST_FOLDERS = 4, 100


def way_on(folder: Place, split: str = VALIDATION) -> str:
    """What to do about a folder without images of a split, as the end of a message; empty without a suggestion."""
    if found := _nearest(folder, split[: len("val")]):
        return f"; {found[0]} has {found[1]}: give it as --source"
    inside = folder.contents()
    if compressed := [name for name in inside.files if is_compressed(name)]:
        return f"; {unpacking(folder / compressed[0])}"
    if links := [name for name in (*inside.files, *inside.broken) if is_synset(name)]:
        return f"; {folder / links[0]} is a broken link, not a folder: restore the link or the folder"
    return ""


def is_archive(name: str) -> bool:
    """Whether a file, by its name, is an archive that may contain images."""
    return name.lower().endswith((*FORMATS, *COMPRESSED))


def _nearest(root: Place, first: str) -> tuple[Place, str] | None:
    level, looked = [root], 0
    for _ in range(_LEVELS):
        below = [folder / name for folder in level for name in _in_turn(folder.folders(), first)]
        for folder in below:
            if looked == _MOST_FOLDERS:
                return None
            looked += 1
            if what := _held(folder):
                return folder, what
        level = below[:_MOST_FOLDERS]
    return None


def _in_turn(names: Iterable[str], first: str) -> list[str]:
    """The folders worth looking into, those whose names begin with the split first."""
    open_ones = [name for name in names if not name.startswith(".") and not is_litter(name)]
    return sorted(open_ones, key=lambda name: not name.lower().startswith(first))


def _held(folder: Place) -> str:
    """A description of what a folder directly contains; empty if that is nothing of interest."""
    inside = folder.contents()
    if class_names(inside.folders):
        return "class folders"
    for suffix, found in FORMATS.items():
        if any(name.lower().endswith(suffix) and not is_litter(name) for name in inside.files):
            return found.NAME
    return "images" if any(map(is_image, inside.files)) else ""
