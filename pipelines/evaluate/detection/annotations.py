"""COCO annotations: the objects that are to be found.

Refuses a file that is not the shards' own, and objects whose box or mask is missing or cannot be right: a box is never
scored in place of a mask.
"""

from __future__ import annotations

import contextlib
import io
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO

from pipelines.errors import UsageError
from pipelines.evaluate.detection.masks import MOST_PIXELS, BadMasksError, as_objects, as_rle, check
from pipelines.evaluate.detection.matching import Objects, out_of_range
from pipelines.evaluate.shards import Shards
from pipelines.generate.sources.base import key_of
from pipelines.generate.sources.coco import read_annotations
from pipelines.store import Disk


class Annotations(NamedTuple):
    """COCO annotations, with the image ids by key of those that can be scored."""

    path: Path
    coco: COCO
    ids: Mapping[str, int]

    @property
    def sizes(self) -> dict[int, tuple[int, int]]:
        """The width and height of the images that have them, by id."""
        found = ((number, (image.get("width"), image.get("height"))) for number, image in self.coco.imgs.items())
        return {number: size for number, size in found if all(type(side) is int and side > 0 for side in size)}


def open_annotations(path: Path, shards: Shards) -> Annotations:
    """The annotations of the samples that all variants share.

    Raises UsageError where the file is not the one that the shards were made with, has no object in their images, or
    gives two objects one id.
    """
    found = read_annotations(Disk(str(path.absolute())))
    wanted = shards.config["source"].get("annotations_sha256")
    if found.sha256 != wanted:
        raise UsageError(f"{path} is not the annotation file that the shards were made with (its sha256 differs)")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools tells of its progress
            coco = COCO(str(path))
    except (KeyError, TypeError, AssertionError) as error:
        raise UsageError(f"{path} is no COCO-format annotation file ({type(error).__name__}: {error})") from None
    by_key = {key_of(name): number for name, number in found.ids.items()}
    ids = {key: by_key[key] for key in shards.samples().keys if key in by_key}
    if not any(not truth.get("iscrowd") for number in ids.values() for truth in coco.imgToAnns[number]):
        raise UsageError(f"{path} has no object in any of the {len(ids):,} images: nothing can be scored")
    twice = len(coco.dataset["annotations"]) - len(coco.anns)
    if twice:
        raise UsageError(f"{path} has {twice:,} annotations whose `id` another has: number them anew")
    return Annotations(path, coco, ids)


def boxes_of(annotations: Annotations, ids: Sequence[int]) -> Objects:
    """The objects in these images, with boxes. Raises UsageError where one has none."""
    truths = _truths(annotations, ids)
    wrong = [truth for truth in truths if not _is_box(truth.get("bbox"))]
    if wrong:
        raise UsageError(
            f"{annotations.path}: {len(wrong):,} of {len(truths):,} objects in the scored images have no bbox of four "
            f"numbers (first: annotation {wrong[0]['id']})"
        )
    boxes = np.array([truth["bbox"] for truth in truths], np.float64).reshape(-1, 4)
    return _objects(annotations, ids, truths, boxes)


def masks_of(annotations: Annotations, ids: Sequence[int]) -> Objects:
    """The objects in these images, with masks. Raises UsageError where one has none, or one that cannot be right."""
    truths = _truths(annotations, ids)
    sizes = annotations.sizes
    unsized = [number for number in ids if number not in sizes or math.prod(sizes[number]) > MOST_PIXELS]
    if unsized:
        raise UsageError(
            f"{annotations.path}: {len(unsized):,} of {len(ids):,} images have no width and height that a mask can "
            f"have (first: image {unsized[0]})"
        )
    masks = [truth.get("segmentation") for truth in truths]
    own = [sizes[truth["image_id"]] for truth in truths]
    try:
        check(masks, own)
    except BadMasksError as error:
        raise UsageError(
            f"{annotations.path}: {len(error.places):,} of {len(truths):,} objects in the scored images "
            f"{error.problem} (first: annotation {truths[error.places[0]]['id']}): masks cannot be scored without "
            "those of all objects"
        ) from None
    return _objects(annotations, ids, truths, as_objects(as_rle(masks, own)))


def _truths(annotations: Annotations, ids: Sequence[int]) -> list[dict[str, Any]]:
    """The annotations of these images, in order."""
    coco = annotations.coco
    return [truth for number in ids for truth in coco.imgToAnns[number] if truth.get("category_id") in coco.cats]


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _objects(
    annotations: Annotations, ids: Sequence[int], truths: Sequence[Mapping[str, Any]], regions: NDArray[Any]
) -> Objects:
    place = {number: index for index, number in enumerate(ids)}
    category = {number: index for index, number in enumerate(sorted(annotations.coco.cats))}
    crowd = np.array([bool(truth.get("iscrowd")) for truth in truths], bool)
    areas = [truth.get("area") for truth in truths]  # not all files have them
    return Objects(
        np.array([place[truth["image_id"]] for truth in truths], np.int64),
        np.array([category[truth["category_id"]] for truth in truths], np.int64),
        np.array([truth["id"] != 0 for truth in truths], bool),
        crowd,
        crowd | out_of_range(np.array([area if _is_number(area) else 0 for area in areas], np.float64)),
        regions,
    )
