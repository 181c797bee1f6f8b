"""Files that operating systems leave in folders and archives, which belong to no set of images or shards."""

from __future__ import annotations

# Finder's and Explorer's own files, by name; AppleDouble files (`._name`) and the folder that macOS puts them in in
# zips.
_FILES = frozenset({".ds_store", "thumbs.db", "desktop.ini"})
_APPLE_DOUBLE, _APPLE_FOLDER = "._", "__MACOSX"


def is_litter(name: str) -> bool:
    """Whether a file or folder, given by name or path (`val/._a.jpg`), was left by an operating system."""
    folders, _, base = name.rpartition("/")
    return (
        base.startswith(_APPLE_DOUBLE)
        or base.lower() in _FILES
        or base == _APPLE_FOLDER
        or (_APPLE_FOLDER in folders and _APPLE_FOLDER in folders.split("/"))
    )
