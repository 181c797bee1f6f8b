"""COCO annotations: the objects to be found.

Objects are identified by their place in the file; annotation ids are not read, and may be missing or duplicated.
Refuses a file that is not the shards' own, and objects whose box or mask is missing or invalid: a box is never scored
instead of a mask.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from manifests.untrusted import uncollected
from pipelines.errors import UsageError
from pipelines.evaluate.detection.masks import MOST_PIXELS, BadMasksError, as_objects, as_rle, check
from pipelines.evaluate.detection.matching import Objects, out_of_range
from pipelines.generate.sources.annotations import Listed, field, read_all, shown, whole
from pipelines.shards import Shards
from pipelines.store import Place

# Fields of other kinds of annotations, and what these are.
_OTHERS = {"caption": "captions", "segments_info": "panoptic segments"}


class Truth(NamedTuple):
    """An annotation of a scored image: its place in the file, counted from 1, its image's id and all its fields."""

    place: int
    image: int
    category: int
    fields: Mapping[str, Any]


class Annotations(NamedTuple):
    """COCO annotations; `ids` are the ids by key of the images that can be scored.

    `images` are the ids of all listed images, `categories` those of all categories, sorted; `sizes` has the width and
    height of images that state them. `truths` are in the file's order, and `notes` are lines for the user.
    """

    path: Place
    ids: Mapping[str, int]
    images: frozenset[int]
    sizes: Mapping[int, tuple[int, int]]
    categories: Sequence[int]
    truths: Sequence[Truth]
    notes: tuple[str, ...]


def open_annotations(path: Place, shards: Shards) -> Annotations:
    """The annotations of the samples that all variants share.

    Raises UsageError if the file is not the one that the shards were made with, or has no objects in their images.
    """
    with uncollected():
        file, content = read_all(path)
        wanted = shards.config["source"].get("annotations_sha256")
        if file.sha256 != wanted:
            raise UsageError(f"{path} is not the annotation file that the shards were made with (its sha256 differs)")
        found = choose(path, file.images.values(), content, shards.samples().keys)
    if not any(not truth.fields.get("iscrowd") for truth in found.truths):
        raise UsageError(f"{path} has no objects in the {len(found.ids):,} images: there is nothing to score")
    return found


def choose(path: Place, images: Iterable[Listed], content: Mapping[str, Any], keys: Sequence[str]) -> Annotations:
    """The annotations of the samples with these keys. Raises UsageError if they lack required fields."""
    listed = {image.key: image for image in images}
    ids = {key: listed[key].id for key in keys if key in listed}
    entries = _list(path, content, "annotations")
    numbers = field(path, _list(path, content, "categories"), "categories", "id", "an integer", whole)
    places = field(path, entries, "annotations", "image_id", "an integer", whole)
    categories = field(path, entries, "annotations", "category_id", "an integer", whole)
    wanted, known = frozenset(ids.values()), frozenset(numbers)
    rows = zip(range(1, len(entries) + 1), places, categories, entries, strict=True)
    truths = [Truth(*row) for row in rows if row[1] in wanted]
    strange = [truth for truth in truths if truth.category not in known]
    truths = [truth for truth in truths if truth.category in known]
    _check(path, truths, "iscrowd", "0 or 1", lambda truth: truth.fields.get("iscrowd") in (0, 1, None))
    sizes = {image.id: image.size for image in listed.values() if image.size}
    notes = tuple(_notes(path, truths, strange))
    return Annotations(path, ids, frozenset(image.id for image in listed.values()), sizes, sorted(known), truths, notes)


def _list(path: Place, content: Mapping[str, Any], name: str) -> Sequence[Any]:
    """A list in the file. Raises UsageError if it is missing, or if the annotations are not of objects."""
    found, entries = content.get(name), content.get("annotations")
    first = entries[0] if isinstance(entries, list) and entries else None
    fields: Collection[str] = first if isinstance(first, dict) else ()
    what = next((what for own, what in _OTHERS.items() if own in fields and "category_id" not in fields), None)
    if what or not isinstance(found, list):
        problem = f"is of {what}" if what else f"has no list of `{name}`"
        raise UsageError(f"{path} {problem}: give a file of objects with boxes, such as instances_val2017.json")
    return found


def _notes(path: Place, truths: Sequence[Truth], strange: Sequence[Truth]) -> Iterator[str]:
    lacking = [truth for truth in truths if not _is_number(truth.fields.get("area"))]
    if lacking:
        yield f"{path.name}: {_some(lacking, truths)} no `area`: that of the box is used"
    lacking = [truth for truth in truths if truth.fields.get("iscrowd") is None]
    if lacking:
        yield f"{path.name}: {_some(lacking, truths)} no `iscrowd`: read as 0"
    if strange:
        first, total = strange[0], len(truths) + len(strange)
        yield (
            f"{path.name}: {len(strange):,} of {total:,} objects are skipped, since their categories are not listed "
            f"(first: number {first.place:,} of its `annotations`, category {first.category})"
        )


def _some(these: Sequence[Truth], all_of_them: Sequence[Truth]) -> str:
    """The beginning of a note: how many objects, and the first of them."""
    first = f"first: number {these[0].place:,} of its `annotations`"
    return f"{len(these):,} of {len(all_of_them):,} objects ({first}) have"


def _check(path: Place, truths: Sequence[Truth], what: str, wanted: str, is_right: Callable[[Truth], bool]) -> None:
    """Raises UsageError unless the field `what` of all objects is valid."""
    wrong = [truth for truth in truths if not is_right(truth)]
    if wrong:
        raise UsageError(
            f"{path}: {len(wrong):,} of {len(truths):,} objects in the scored images have no `{what}` that is {wanted} "
            f"(first: {_place(wrong[0])}, {shown(wrong[0].fields, what)})"
        )


def _place(truth: Truth) -> str:
    return f"number {truth.place:,} of its `annotations`, in image {truth.image}"


def boxes_of(annotations: Annotations, ids: Sequence[int]) -> Objects:
    """The objects in these images, with boxes. Raises UsageError if one has none."""
    truths = _in_order(annotations, ids)
    path, wanted = annotations.path, "a list of four numbers, the last two not negative"
    _check(path, truths, "bbox", wanted, lambda truth: _is_box(truth.fields.get("bbox")))
    boxes = np.array([truth.fields["bbox"] for truth in truths], np.float64).reshape(-1, 4)
    return _objects(annotations, ids, truths, boxes)


def masks_of(annotations: Annotations, ids: Sequence[int]) -> Objects:
    """The objects in these images, with masks. Raises UsageError if one is missing or invalid."""
    truths = _in_order(annotations, ids)
    sizes = annotations.sizes
    unsized = [number for number in ids if number not in sizes or math.prod(sizes[number]) > MOST_PIXELS]
    if unsized:
        raise UsageError(
            f"{annotations.path}: {len(unsized):,} of {len(ids):,} images have no valid width and height, which masks "
            f"need (first: image {unsized[0]})"
        )
    masks = [truth.fields.get("segmentation") for truth in truths]
    own = [sizes[truth.image] for truth in truths]
    try:
        check(masks, own)
    except BadMasksError as error:
        raise UsageError(
            f"{annotations.path}: {len(error.places):,} of {len(truths):,} objects in the scored images "
            f"{error.problem} (first: {_place(truths[error.places[0]])}): masks can only be scored if all objects have "
            "valid ones"
        ) from None
    return _objects(annotations, ids, truths, as_objects(as_rle(masks, own)))


def _in_order(annotations: Annotations, ids: Collection[int]) -> list[Truth]:
    """The objects of these images, in the order of the images, then of the file."""
    by_image = defaultdict[int, list[Truth]](list)
    for truth in annotations.truths:
        by_image[truth.image].append(truth)
    return [truth for number in ids for truth in by_image[number]]


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(map(_is_number, box)) and min(box[2:]) >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _area(fields: Mapping[str, Any]) -> float:
    area: Any = fields.get("area")
    if _is_number(area):
        return float(area)
    box: Any = fields.get("bbox")
    return float(box[2]) * float(box[3]) if _is_box(box) else 0


def _objects(annotations: Annotations, ids: Sequence[int], truths: Sequence[Truth], regions: NDArray[Any]) -> Objects:
    place = {number: index for index, number in enumerate(ids)}
    category = {number: index for index, number in enumerate(annotations.categories)}
    crowd = np.array([bool(truth.fields.get("iscrowd")) for truth in truths], bool)
    return Objects(
        np.array([place[truth.image] for truth in truths], np.int64),
        np.array([category[truth.category] for truth in truths], np.int64),
        crowd,
        crowd | out_of_range(np.array([_area(truth.fields) for truth in truths], np.float64)),
        regions,
    )
