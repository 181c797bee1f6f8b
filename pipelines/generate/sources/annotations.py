"""COCO-format annotation files: the images that they list, with their ids, names and sizes.

Owns the keys of images, whose names may include folders, as on Windows or in a URL. Refuses files in which a field is
missing or of the wrong type; the message says how many entries lack it, and which is the first.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from posixpath import commonpath
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from manifests.untrusted import parse_json, read_at_most, uncollected
from pipelines.errors import UsageError
from pipelines.generate.sources.base import key_of
from pipelines.store import Place
from pipelines.text import number_of

# Bytes. COCO's largest file, of the training images, has 448 million.
_LARGEST_ANNOTATIONS = 2**30
_LARGEST_ID = 2**63
# Separators for folders in a key: the first that keeps a/b and a_b distinct is used.
_SEPARATORS = ("_", "-", "__", "--")
_SHOWN = 60  # characters of a value in a message


class Listed(NamedTuple):
    """An image in the file: its key and id, and its width and height in pixels if the file has them."""

    key: str
    id: int
    size: tuple[int, int] | None


@dataclass(frozen=True)
class Annotations:
    """What is needed from an annotation file to find its images: its name, sha256, images by path, and notes.

    Paths are those of the file, with `/` between folders.
    """

    name: str
    sha256: str
    images: Mapping[str, Listed]
    notes: tuple[str, ...]


def read_annotations(path: Place) -> Annotations:
    """Read a COCO-format file. Raises UsageError if it is not one."""
    with uncollected():
        return read_all(path)[0]


def read_all(path: Place) -> tuple[Annotations, dict[str, Any]]:
    """Read a COCO-format file, and return its whole content as well. Raises UsageError if it is not one."""
    try:
        with path.open() as file:
            data = read_at_most(file, _LARGEST_ANNOTATIONS)
        content = parse_json(data)
    except (OSError, ValueError) as error:
        raise UsageError(f"the annotations in {path} cannot be read ({error})") from None
    found = content.get("images") if isinstance(content, dict) else None
    if not isinstance(found, list) or not found:
        raise UsageError(f"{path} has no list of `images`: is it a COCO-format annotation file?")
    images = _images(path, found)
    notes = tuple(_notes(path, content, images))
    return Annotations(path.name, hashlib.sha256(data).hexdigest(), images, notes), content


def whole(value: Any) -> int | None:
    """An id: an integer, or a float without a fraction, as some exporters write them. None for anything else."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and abs(value) < _LARGEST_ID else None


def field(
    path: object, entries: Sequence[Any], name: str, what: str, wanted: str, read: Callable[[Any], Any | None]
) -> list[Any]:
    """A field of all entries of the list `name`, as converted by `read`. Raises UsageError if that returns None.

    `what` is the field's name, and `wanted` describes its type, as in `an integer`.
    """
    found = [read(entry.get(what)) if isinstance(entry, dict) else None for entry in entries]
    wrong = [place for place, value in enumerate(found) if value is None]
    if wrong:
        raise UsageError(
            f"{path}: {len(wrong):,} of {len(entries):,} entries of `{name}` with no `{what}` that is {wanted} (first: "
            f"number {wrong[0] + 1:,}, {shown(entries[wrong[0]], what)})"
        )
    return found


def shown(entry: Any, what: str) -> str:
    """What an entry has instead of a valid field."""
    if not isinstance(entry, dict):
        return f"which is {_text(entry)}"
    return f"which has {_text(entry[what])}" if what in entry else "which has none"


def _text(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _images(path: Place, entries: Sequence[Any]) -> dict[str, Listed]:
    numbers = field(path, entries, "images", "id", "an integer", whole)
    paths = [_path(entry) for entry in entries]
    if None in paths:
        lacking = [place for place, own in enumerate(paths) if own is None]
        raise UsageError(
            f"{path}: {len(lacking):,} of {len(paths):,} entries of `images` with neither a `file_name` nor a "
            f"`coco_url` (first: number {lacking[0] + 1:,})"
        )
    ids: dict[str, int] = {}
    names: dict[int, str] = {}
    for name, number in zip(paths, numbers, strict=True):
        assert name is not None
        if ids.setdefault(name, number) != number:
            raise UsageError(f"{path} gives {name} two ids, {ids[name]} and {number}")
        if names.setdefault(number, name) != name:
            raise UsageError(f"{path} gives two images the id {number}: {names[number]} and {name}; renumber them")
    keys = unique_keys(ids)
    sizes = {name: _size(entry) for name, entry in zip(paths, entries, strict=True) if name}
    return {name: Listed(keys[name], number, sizes[name]) for name, number in ids.items()}


def _path(entry: Mapping[str, Any]) -> str | None:
    """An image's path. LVIS has only that in its URL."""
    name = entry.get("file_name")
    if isinstance(name, str) and (path := with_slashes(name)):
        return path
    try:
        return with_slashes(unquote(urlsplit(entry.get("coco_url", "")).path)) or None
    except (ValueError, TypeError, AttributeError):
        return None


def _size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = whole(entry.get("width")), whole(entry.get("height"))
    return (width, height) if width and height and min(width, height) > 0 else None


def with_slashes(name: str) -> str:
    """A path from any system with `/` between folders, and without empty, `.` and `..` parts."""
    if "/" not in name and "\\" not in name:
        return name
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", ".", ".."))


def unique_keys(paths: Iterable[str], taken: Collection[str] = ()) -> dict[str, str]:
    """A key for each of these distinct paths: the file's stem, prefixed by its folders if others have that stem.

    Folders common to all paths are left out, unless there are keys that are already `taken`.
    """
    keys = {path: key_of(path) for path in paths}
    counts = Counter([*keys.values(), *taken])
    if len(counts) == len(keys) + len(taken):
        return keys
    folders = [path.rpartition("/")[0] for path in keys]
    common = "" if taken else commonpath(folders)
    below = [folder[len(common) :].strip("/").split("/") if folder != common else [] for folder in folders]
    for separator in _SEPARATORS:
        found = {
            path: separator.join([*parts, key]).replace(".", "_") if counts[key] > 1 else key
            for (path, key), parts in zip(keys.items(), below, strict=True)
        }
        if len({*found.values()}) == len(found):
            break
    return found


def _notes(path: Place, content: Mapping[str, Any], images: Mapping[str, Listed]) -> Iterable[str]:
    known = {image.id for image in images.values()}
    annotations = content.get("annotations")
    entries = annotations if isinstance(annotations, list) else []
    strays = sum(1 for entry in entries if not isinstance(entry, dict) or whole(entry.get("image_id")) not in known)
    if strays:
        yield f"{path} has {number_of(strays, 'annotation')} of images that it does not list, which belong to no sample"
    boxless = [place for place, entry in enumerate(entries, 1) if not (isinstance(entry, dict) and _has_box(entry))]
    if 0 < len(boxless) < len(entries):  # else the file is for another task, which scoring reports
        yield (
            f"{path}: {len(boxless):,} of {len(entries):,} annotations with no `bbox` of four numbers (first: number "
            f"{boxless[0]:,}): shards can be made, but boxes cannot be scored with it"
        )
    lacking = [name for name in ("annotations", "categories") if not isinstance(content.get(name), list)]
    if lacking:
        yield (
            f"{path} has no list of `{lacking[0]}`: shards can be made, but not scored with it: scoring needs a full "
            "annotation file, such as COCO's instances_val2017.json"
        )


def _has_box(entry: Mapping[str, Any]) -> bool:
    box = entry.get("bbox")
    return isinstance(box, list) and len(box) == 4
