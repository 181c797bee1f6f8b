"""COCO results files: detections with boxes or masks, checked, in the source's pixels.

Refuses invalid detections, with their number, and files that lack images or are in other units.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from manifests.untrusted import uncollected
from pipelines.errors import UsageError
from pipelines.evaluate.detection.masks import (
    BadMasksError,
    Place,
    as_objects,
    as_rle,
    check,
    polygons_to_source,
    runs_to_source,
)
from pipelines.evaluate.detection.matching import Detections
from pipelines.generate.sources.annotations import whole

IouType = Literal["bbox", "segm"]
# What a detection's region is called, by pycocotools' IoU type.
REGIONS: Mapping[IouType, str] = {"bbox": "box", "segm": "mask"}
# Above this share of images without a box, a file looks partial. 1% of COCO's images have no object at all.
_EMPTY = 0.1
# Detectors' boxes reach slightly beyond the image, and a few far beyond it.
_MARGIN, _BEYOND = 1.1, 0.25


@dataclass(frozen=True)
class Reading:
    """How results files are read: whether regions are in `source` or `shard` pixels, whether images may lack
    detections, and whether boxes or masks are scored.
    """

    boxes: str = "source"
    allow_empty: bool = False
    iou_type: IouType = "bbox"

    @property
    def region(self) -> str:
        return REGIONS[self.iou_type]


@dataclass(frozen=True)
class Known:
    """What results are checked against: the ids of all annotated images and categories (sorted), and those of the
    scored images.

    `sizes` are the widths and heights of scored images, as far as they are known; `places` is how these lie in their
    sources, if results are in shard pixels. `explanation` is why regions may lie beyond their images, if something is
    wrong with the shards; `elsewhere` are images that a variant turns, so that regions may lie beyond the annotations'
    size.
    """

    images: frozenset[int]
    categories: Sequence[int]
    scored: Sequence[int]
    sizes: Mapping[int, tuple[int, int]]
    places: Mapping[int, Place]
    explanation: str = ""
    elsewhere: frozenset[int] = frozenset()


def read_results(path: Path, known: Known, reading: Reading) -> Detections:
    """The detections of a results file in the scored images, with regions in source pixels.

    Raises UsageError if it cannot be read, or is invalid.
    """
    results = _load(path)
    if not _are_detections(results, reading.iou_type == "bbox"):
        results = [_numbered(result) for result in results]
    _check(path, results, known, reading)
    wanted = set(known.scored)
    results = [result for result in results if result["image_id"] in wanted]
    empty = len(wanted) - len({result["image_id"] for result in results})
    if empty > _EMPTY * len(wanted) and not reading.allow_empty:
        raise UsageError(
            f"{path} has no {reading.region} in {empty:,} of {len(wanted):,} images: give --allow-empty if it is "
            "complete"
        )
    image = {number: place for place, number in enumerate(known.scored)}
    category = {number: place for place, number in enumerate(known.categories)}
    regions = _boxes if reading.iou_type == "bbox" else _masks
    return Detections(
        np.array([image[result["image_id"]] for result in results], np.int64),
        np.array([category[result["category_id"]] for result in results], np.int64),
        _floats([result["score"] for result in results]),
        regions(path, results, known),
    )


def repeated(detections: Detections) -> int:
    """The number of duplicate detections."""
    keys = detections.category, detections.image, detections.score
    order = np.lexsort(keys)
    same = np.logical_and.reduce([np.diff(key[order]) == 0 for key in keys])
    alike = order[np.append(same, False) | np.append(False, same)[: len(order)]] if len(order) else order
    found = detections.take(alike)
    regions = [tuple(one) if isinstance(one, list) else one["counts"] for one in found.region.tolist()]
    distinct = Counter(zip(found.category.tolist(), found.image.tolist(), found.score.tolist(), regions, strict=True))
    return len(regions) - len(distinct)


def _load(path: Path) -> list[Any]:
    try:
        with uncollected():
            results = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read as COCO results ({error})") from None
    if not isinstance(results, list):
        raise UsageError(f"{path} is not a COCO results file: give a JSON list of detections")
    return results


def _is_four_numbers(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(type(value) in (int, float) for value in box)


# What each field of a detection must be.
_FIELDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "image_id": ("an integer", lambda value: type(value) is int),
    "category_id": ("an integer", lambda value: type(value) is int),
    "bbox": ("a list of four numbers", _is_four_numbers),
    "score": ("a number", lambda value: type(value) in (int, float)),
}


def _check(path: Path, results: Sequence[Any], known: Known, reading: Reading) -> None:
    """Raises UsageError, with counts, for invalid detections; masks are not looked at."""
    with_boxes = reading.iou_type == "bbox"
    if not _are_detections(results, with_boxes):
        masks = any(isinstance(result, dict) and "segmentation" in result for result in results)
        for name, (wanted, is_right) in _FIELDS.items():
            wrong = [not (isinstance(result, dict) and is_right(result.get(name))) for result in results]
            hint = "; masks are scored with --iou-type segm" if name == "bbox" and masks else ""
            _refuse(
                path, results, wrong if name != "bbox" or with_boxes else [], f"have no {name} that is {wanted}", hint
            )
    finite = np.isfinite(_floats([result["score"] for result in results]))
    if with_boxes:
        boxes = _box_array(results)
        finite &= np.isfinite(boxes).all(axis=1)
    _refuse(path, results, ~finite, f"have a NaN or infinite score{' or box' if with_boxes else ''}")
    if with_boxes:
        _refuse(path, results, boxes[:, 2:].min(axis=1) < 0, "have a box of negative size")
    strange = [result["image_id"] not in known.images for result in results]
    _refuse(path, results, strange, "are of images that the annotations do not list")
    categories = set(known.categories)
    strange = [result["category_id"] not in categories for result in results]
    hint = f"; its ids are {min(categories)} to {max(categories)}, not indices of a list"
    _refuse(path, results, strange, "are of categories that the annotations do not have", hint)


def _refuse(
    path: Path, results: Sequence[Any], wrong: Sequence[bool] | NDArray[np.bool_], problem: str, hint: str = ""
) -> None:
    places = np.flatnonzero(wrong)
    if len(places):
        first = f"number {places[0] + 1:,}, {json.dumps(results[places[0]])[:120]}"
        raise UsageError(f"{path}: {len(places):,} of {len(results):,} detections {problem} (first: {first}){hint}")


def _numbered(result: Any) -> Any:
    """A detection, with ids that are floats without a fraction made integers."""
    ids = {
        name: whole(result[name]) for name in ("image_id", "category_id") if isinstance(result, dict) and name in result
    }
    return result | {name: number for name, number in ids.items() if number is not None} if ids else result


def _are_detections(results: Sequence[Any], with_boxes: bool) -> bool:
    """Whether all have the required fields, of the right types; masks are not looked at."""
    try:
        fields = [{type(result[name]) for result in results} for name in ("image_id", "category_id", "score")]
        boxes = [result["bbox"] for result in results] if with_boxes else []
    except (TypeError, KeyError, IndexError):
        return False
    images, categories, scores = fields
    return (
        images | categories <= {int}
        and scores <= {int, float}
        and set(map(type, boxes)) <= {list}
        and set(map(len, boxes)) <= {4}
        and set(map(type, chain.from_iterable(boxes))) <= {int, float}
    )


def _floats(numbers: Sequence[float]) -> NDArray[np.float64]:
    try:
        return np.array(numbers, np.float64)
    except OverflowError:  # JSON's integers have no bounds
        return np.array([number if isinstance(number, float) else _float(number) for number in numbers])


def _float(number: int) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _box_array(results: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    return _floats(list(chain.from_iterable(result["bbox"] for result in results))).reshape(-1, 4)


def _boxes(path: Path, results: Sequence[Mapping[str, Any]], known: Known) -> NDArray[np.float64]:
    """The boxes in source pixels: (output + crop) / scale."""
    boxes = _box_array(results)
    numbers = [result["image_id"] for result in results]
    if known.places:
        crop = np.array([known.places[number].crop for number in numbers], np.float64).reshape(-1, 2)
        scale = np.array([known.places[number].scale for number in numbers], np.float64).reshape(-1, 2)
        boxes = np.concatenate([(boxes[:, :2] + crop) / scale, boxes[:, 2:] / scale], axis=1)
    if problem := _misfit(boxes, numbers, known):
        raise UsageError(f"the boxes in {path} {problem} {_advice('x, y, width and height', known)}")
    return boxes


def _masks(path: Path, results: Sequence[Mapping[str, Any]], known: Known) -> NDArray[Any]:
    """The masks in source pixels, as compressed run lengths."""
    segmentations = [result.get("segmentation") for result in results]
    numbers = [result["image_id"] for result in results]
    sizes = {number: place.size for number, place in known.places.items()} or known.sizes
    try:
        check(segmentations, [sizes[number] for number in numbers])
    except BadMasksError as error:
        wrong = np.zeros(len(results), bool)
        wrong[error.places] = True
        how = ("source", "without") if known.places else ("shard", "with")
        hint = "; masks in {} pixels are scored {} --boxes shard".format(*how) if "`size`" in error.problem else ""
        _refuse(path, results, wrong, error.problem, hint)
    other = [number for number, place in known.places.items() if place.source != known.sizes[number]]
    if other:
        raise UsageError(
            f"the annotations state another size for {len(other):,} images than they have (first: image {other[0]}): "
            f"masks in shard pixels cannot be moved to theirs{known.explanation and f': {known.explanation}'}"
        )
    if known.places:
        segmentations = _moved(segmentations, numbers, known.places)
    drawn = [(number, one) for number, one in zip(numbers, segmentations, strict=True) if isinstance(one, list)]
    if problem := _misfit(np.array([_extent(one) for _, one in drawn]), [number for number, _ in drawn], known):
        raise UsageError(f"the polygons in {path} {problem} {_advice('points', known)}")
    return as_objects(as_rle(segmentations, [known.sizes[number] for number in numbers]))


def _moved(segmentations: Sequence[Any], numbers: Sequence[int], places: Mapping[int, Place]) -> list[Any]:
    """Masks from shard pixels to source pixels: polygons, or run lengths."""
    found = []
    for one, number in zip(segmentations, numbers, strict=True):
        move = polygons_to_source if isinstance(one, list) else runs_to_source
        found.append(move(one, places[number]))
    return found


def _extent(polygons: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
    """The left, the top, the width and the height of polygons."""
    x, y = ([number for polygon in polygons for number in polygon[axis::2]] for axis in (0, 1))
    return min(x), min(y), max(x) - min(x), max(y) - min(y)


def _misfit(boxes: NDArray[np.float64], numbers: Sequence[int], known: Known) -> str:
    """What is wrong with boxes that look as if they were in other units, or given by corners; empty if nothing is."""
    sized = [place for place, n in enumerate(numbers) if n in known.sizes and n not in known.elsewhere]
    if not sized:
        return ""
    boxes = boxes[sized]
    sizes = np.array([known.sizes[numbers[place]] for place in sized])
    beyond = np.count_nonzero((boxes[:, :2] + boxes[:, 2:] > sizes * _MARGIN).max(axis=1))
    if boxes.max() <= _MARGIN:
        return "are no larger than 1: are they shares of the image?"
    if beyond > _BEYOND * len(boxes):
        return f"reach beyond their images in {beyond:,} of {len(boxes):,} detections:"
    return ""


def _advice(what: str, known: Known) -> str:
    """What to do about regions that lie beyond their images."""
    if known.explanation:
        return known.explanation
    if known.places:
        return f"give {what} in the pixels of this variant's shards, or leave out --boxes if they are in source pixels"
    return f"give {what} in source pixels, or in shard pixels with --boxes shard"
