"""Advice for messages about a folder without images, or a file that cannot be read as it is.

Looks only as deep as people's folders are usually off, and at few folders: what is not found quickly is not mentioned.
"""

from __future__ import annotations

from collections.abc import Iterable

from manifests.splits import VALIDATION
from pipelines.generate.sources.base import is_image, is_litter
from pipelines.generate.sources.classes import class_names, is_synset
from pipelines.store import Place

_LEVELS, _MOST_FOLDERS = 4, 100
_COMPRESSED = (".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".zip", ".7z", ".rar")
# Magic numbers of gzip (RFC 1952), bzip2, xz, Zstandard (RFC 8878) and zip.
_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"PK\3\4")


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
    return name.lower().endswith((".tar", ".parquet", *_COMPRESSED))


def is_compressed(name: str) -> bool:
    """Whether a file, by its name, is a compressed archive."""
    return name.lower().endswith(_COMPRESSED) and not is_litter(name)


def unpacking(file: Place) -> str:
    """The message about a compressed archive."""
    command = f"unzip {file.name} -d FOLDER" if file.suffix == ".zip" else f"tar -xf {file.name} -C FOLDER"
    return f"{file} is compressed: unpack it ({command}), and give the folder as --source"


def begins_compressed(file: Place) -> bool:
    """Whether a file is compressed, by its first bytes and whatever its name."""
    with file.open() as opened:
        return opened.read(max(map(len, _MAGIC))).startswith(_MAGIC)


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
    for suffix, what in ((".parquet", "Parquet files"), (".tar", "tars")):
        if any(name.lower().endswith(suffix) and not is_litter(name) for name in inside.files):
            return what
    return "images" if any(map(is_image, inside.files)) else ""
