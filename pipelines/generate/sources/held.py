"""Whether a place has images or recordings, as far as a quick look shows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from pipelines.errors import UsageError
from pipelines.generate.sources.base import is_image, is_litter, is_recording
from pipelines.generate.sources.members import members_of
from pipelines.store import Place

IMAGES, RECORDINGS = "images", "recordings"
# The most folders and members that are looked at.
_MOST_FOLDERS, _MOST_MEMBERS = 100, 100


def held_at(place: Place) -> str:
    """What a file, tar or folder contains, by the first conclusive name; empty if there is none.

    For a folder with neither images nor recordings, its first conclusive tar decides.
    """
    if place.is_file():
        return _in_tar(place) if place.suffix == ".tar" else _named([place.name])
    tars = (place / name for name in place.files() if name.lower().endswith(".tar") and not is_litter(name))
    return kind_of_files(place) or next(map(_in_tar, tars), "")


def kind_of_files(folder: Place) -> str:
    """The kind of the files in a folder and its subfolders, ignoring archives."""
    return _named(_files_below(folder))


def holds_recordings(folder: Place) -> bool:
    """Whether there are recordings in a folder or its subfolders, possibly next to images."""
    return any(map(is_recording, _files_below(folder)))


def _files_below(folder: Place) -> Iterator[str]:
    """The names of the files in a folder, then of those in its subfolders."""
    waiting = [folder]
    for looked in range(_MOST_FOLDERS):
        if looked == len(waiting):
            break
        inside = waiting[looked].contents()
        yield from inside.files
        waiting += [waiting[looked] / name for name in inside.folders if not name.startswith(".")]


def _in_tar(file: Place) -> str:
    try:
        with contextlib.closing(members_of(file, 0)) as members:
            return _named(member.name for _, member in zip(range(_MOST_MEMBERS), members, strict=False))
    except (UsageError, OSError):
        return ""


def _named(names: Iterable[str]) -> str:
    for name in names:
        if is_recording(name):
            return RECORDINGS
        if is_image(name):
            return IMAGES
    return ""
