"""Matches the files of a source with the images of an annotation file if their folders differ.

Folders are ignored, or others prepended, only if a single file can be meant. Refuses an image that could be any of
several files, and a file that could be any of several images.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from pipelines.errors import UsageError


class Matched(NamedTuple):
    """Paths of images with the paths of their files, and the images that were matched by name only."""

    files: dict[str, str]
    loosely: list[str]


def match(wanted: Collection[str], existing: Collection[str], root: str) -> Matched:
    """Match images with the files of a source, both by paths with `/`; the source itself is at `root`.

    For an archive, `root` ends in the folder that it would unpack to. Raises UsageError if the match is ambiguous.
    """
    images, files = _by_name(wanted), _by_name(existing)
    found: dict[str, str] = {}
    loosely = []
    folders: set[str] | None = None
    for name, own in images.items():
        candidates = files.get(name)
        if not candidates:
            continue
        if own == candidates and len(own) == 1:
            found.update(zip(own, own, strict=True))
            continue
        matched = _resolve(own, candidates, root)
        if not matched and len(own) == len(candidates) == 1:
            folders = {_folder(path) for path in existing} if folders is None else folders
            if _folder(own[0]) not in folders:  # otherwise the annotated file would be in that folder
                matched = {own[0]: candidates[0]}
                loosely += own
        found |= matched
    return Matched(found, loosely)


def _by_name(paths: Collection[str]) -> dict[str, list[str]]:
    """Paths by file name. Composed and decomposed accents, as Macs write them, are the same."""
    found = defaultdict(list)
    for path in paths:
        found[_composed(path.rpartition("/")[2])].append(path)
    return found


def _composed(path: str) -> str:
    return path if path.isascii() else unicodedata.normalize("NFC", path)


def _folder(path: str) -> str:
    return _composed(path.rpartition("/")[0])


def _resolve(images: Sequence[str], files: Sequence[str], root: str) -> dict[str, str]:
    """Match images with files of the same name by their folders. Images that fit no file are left out."""
    paths = {_composed(path): path for path in files}
    longer: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        for end in _ends(path):
            longer[end].append(path)
    found: dict[str, str] = {}
    left = []
    for image in images:
        own = _composed(image)
        sure = [path for path in (own, *_below(own, root)) if path in paths][:1] or longer[own]
        if len(sure) > 1:
            raise UsageError(f"the image {image} in the annotations may be {sure[0]} or {sure[1]}: {_ADVICE}")
        if sure:
            found[image] = paths[sure[0]]
        else:
            left.append(image)
    taken = {file: image for image, file in found.items()}
    if len(taken) < len(found):
        one = next(image for image, file in found.items() if taken[file] != image)
        raise UsageError(f"{found[one]} may be the image {one} or {taken[found[one]]} in the annotations: {_ADVICE}")
    claims: dict[str, str] = {}
    for image in left:
        file = next((paths[end] for end in _ends(_composed(image)) if end in paths and paths[end] not in taken), None)
        if file is None:
            continue
        if file in claims:
            raise UsageError(f"{file} may be the image {claims[file]} or {image} in the annotations: {_ADVICE}")
        claims[file] = image
        found[image] = file
    return found


_ADVICE = "give as --source the folder in which its `file_name` starts"


def _ends(path: str) -> Iterator[str]:
    """A path without its first folder, without its first two, and so on."""
    while "/" in path:
        path = path.partition("/")[2]
        yield path


def _below(path: str, root: str) -> Iterator[str]:
    """A path relative to `root`, for each way in which the path's first folders are the last of `root`."""
    for end in _ends(path):
        if f"/{root}".endswith("/" + path[: -len(end) - 1]):
            yield end
