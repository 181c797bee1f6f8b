"""Whether a place holds images or recordings, as far as a short look tells."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from pipelines.errors import UsageError
from pipelines.generate.sources.base import is_image, is_recording
from pipelines.generate.sources.members import members_of
from pipelines.store import Place

IMAGES, RECORDINGS = "images", "recordings"
# Folders and members that are looked at.
_MOST_FOLDERS, _MOST_MEMBERS = 100, 100


def kind_of(place: Place) -> str:
    """What a file, tar or folder holds, by the first name that tells; empty where none does."""
    if place.is_file():
        return _in_tar(place) if place.suffix == ".tar" else _named([place.name])
    waiting = [place]
    for looked in range(_MOST_FOLDERS):
        if looked == len(waiting):
            break
        inside = waiting[looked].contents()
        if kind := _named(inside.files):
            return kind
        waiting += [waiting[looked] / name for name in inside.folders if not name.startswith(".")]
    return ""


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
