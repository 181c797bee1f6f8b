"""COCO mAP (IoU 0.50:0.95, all areas, 100 detections an image), and the same for resampled images.

Matching is pycocotools'. Its accumulation is done here in a weighted form, so that thousands of resamples need no
second matching: an image that is drawn twice counts twice. With all weights 1 it is pycocotools' own figure.
"""

from __future__ import annotations

import contextlib
import copy
import filecmp
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pipelines.errors import UsageError
from pipelines.evaluate.shards import Shards
from pipelines.evaluate.statistics import Bootstrap, Comparison, paired_bootstrap
from pipelines.evaluate.task import OnShards, Score
from pipelines.generate.sources.base import key_of
from pipelines.generate.sources.coco import read_annotations
from pipelines.store import Disk

_MOST = 100  # detections an image: COCO's maxDets for mAP
# Above these shares of images without a box, a file looks as if it were of a part of the images: in all, and of those
# in which the reference's file (or the variant's) has some. Of COCO's images 1% have no object at all.
_EMPTY, _LACKING = 0.1, 0.02
# Detectors' boxes reach a little beyond the image, and a few far.
_MARGIN, _BEYOND = 1.1, 0.25


class _Category(NamedTuple):
    """One category's detections, best first, and its objects.

    `image` is int64 of shape (detections,): the place of the image among those scored; `right` and `ignored` are bool
    of shape (10 IoU thresholds, detections); `objects` int64 of shape (images,).
    """

    image: NDArray[np.int64]
    right: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    objects: NDArray[np.int64]


class _Matches(NamedTuple):
    """What COCOeval matched: by category, and for each object (in a fixed order) its image and whether it was found.

    An object counts as found where any detection of its class, whatever its score, matches it at an IoU of 0.5.
    """

    categories: Sequence[_Category]
    object_image: NDArray[np.int64]
    found: NDArray[np.bool_]


class Annotations(NamedTuple):
    """COCO annotations, with the image ids by key of those that can be scored."""

    coco: COCO
    ids: Mapping[str, int]


def open_annotations(path: Path, shards: Shards) -> Annotations:
    """The annotations of the samples that all variants share.

    Raises UsageError where the file is not the one that the shards were made with, or has no object in their images.
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
    return Annotations(coco, ids)


@dataclass(frozen=True)
class Reading:
    """How results files are read: whether boxes are in `source` or `shard` pixels, and whether images may lack them."""

    boxes: str = "source"
    allow_empty: bool = False


class _Evaluated(NamedTuple):
    """What a results file comes to: matches, mAP, mAP in every resample, and the images in which it has a box."""

    matches: _Matches
    value: float
    resampled: NDArray[np.float64]
    with_boxes: frozenset[int]


class Detection(OnShards):
    """Scores COCO results files against annotations."""

    metric = "map"
    counted = "objects"

    def __init__(
        self, shards: Shards, reference: Path, annotations: Annotations, reading: Reading, bootstrap: Bootstrap
    ) -> None:
        self._shards = shards
        self._coco, ids = annotations
        self._keys, self._ids = list(ids), list(ids.values())
        self._reading = reading
        self._bootstrap = bootstrap
        self._path = reference
        self._reference = self._evaluated(self._read(shards.reference.name, reference))

    @property
    def keys(self) -> list[str]:
        return self._keys

    def score(self, variant: str, path: Path) -> Score:
        results = self._read(variant, path)
        theirs = self._reference
        # Variants with the same pixels have the same file, as a rule.
        same = self._reading.boxes == "source" and filecmp.cmp(path, self._path, shallow=False)
        mine = theirs if same else self._evaluated(results)
        self._check_whole(path, mine.with_boxes)
        comparison = paired_bootstrap(theirs.value - mine.value, theirs.resampled - mine.resampled)
        images, found, was_found = mine.matches.object_image, mine.matches.found, theirs.matches.found
        lost = np.bincount(images[was_found & ~found], minlength=len(self._ids))
        gained = int(np.count_nonzero(found & ~was_found))
        notes = tuple(self._notes(path, results, mine.with_boxes))
        return Score({"map": mine.value}, comparison, lost, gained, mine.resampled, notes)

    def between(self, better: Score, worse: Score) -> Comparison:
        return paired_bootstrap(better.figures["map"] - worse.figures["map"], better.basis - worse.basis)

    def _evaluated(self, results: list[dict[str, Any]]) -> _Evaluated:
        matches, count = self._matches(results), len(self._ids)
        resampled = self._bootstrap.values(lambda weights: _mean_ap(matches.categories, weights), count)
        value = float(_mean_ap(matches.categories, np.ones((1, count)))[0])
        return _Evaluated(matches, value, resampled, frozenset(result["image_id"] for result in results))

    def _read(self, variant: str, path: Path) -> list[dict[str, Any]]:
        """A results file's detections in the scored images, with boxes in source pixels."""
        results = _load(path)
        _check(path, results, set(self._coco.getImgIds()), set(self._coco.getCatIds()))
        wanted = set(self._ids)
        results = [result for result in results if result["image_id"] in wanted]
        empty = len(wanted) - len({result["image_id"] for result in results})
        if empty > _EMPTY * len(wanted) and not self._reading.allow_empty:
            raise UsageError(
                f"{path} has no box in {empty:,} of {len(wanted):,} images: is it whole? Give --allow-empty if it is"
            )
        results = results if self._reading.boxes == "source" else self._to_source(variant, results)
        self._check_frame(path, results)
        return results

    def _check_frame(self, path: Path, results: Sequence[Mapping[str, Any]]) -> None:
        """Raises UsageError where boxes look as if they were in other units, or given by their corners."""
        sizes = {n: (i["width"], i["height"]) for n, i in self._coco.imgs.items() if {"width", "height"} <= i.keys()}
        boxes = np.array([(*r["bbox"], *sizes[r["image_id"]]) for r in results if r["image_id"] in sizes])
        if not len(boxes):
            return
        beyond = (boxes[:, :2] + boxes[:, 2:4] > boxes[:, 4:] * _MARGIN).any(axis=1)
        problem = ""
        if boxes[:, :4].max() <= _MARGIN:
            problem = "are no larger than 1: are they shares of the image?"
        elif np.count_nonzero(beyond) > _BEYOND * len(beyond):
            problem = f"reach beyond their images in {np.count_nonzero(beyond):,} of {len(beyond):,} detections:"
        if problem:
            raise UsageError(
                f"the boxes in {path} {problem} x, y, width and height in source pixels are wanted, or in shard pixels "
                "with --boxes shard"
            )

    def _check_whole(self, path: Path, with_boxes: frozenset[int]) -> None:
        """Raises UsageError where a file has boxes in other images than the reference's: one of the two is partial."""
        theirs = self._reference.with_boxes
        for one, other, lacking in ((self._path, path, theirs - with_boxes), (path, self._path, with_boxes - theirs)):
            if len(lacking) > max(1, _LACKING * len(self._ids)) and not self._reading.allow_empty:
                raise UsageError(
                    f"{other} has no box in {len(lacking):,} images in which {one.name} has some (first: image "
                    f"{min(lacking)}): is it whole? Give --allow-empty if it is"
                )

    def _notes(self, path: Path, results: Sequence[Mapping[str, Any]], with_boxes: frozenset[int]) -> Iterator[str]:
        empty = len(self._ids) - len(with_boxes)
        if empty:
            yield f"{path.name} has no box in {empty:,} of {len(self._ids):,} images"
        same = Counter((r["image_id"], r["category_id"], *r["bbox"], r["score"]) for r in results)
        twice = len(results) - len(same)
        if twice:
            yield f"{path.name} has {twice:,} detections more than once"

    def _to_source(self, variant: str, results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The results with boxes in source pixels: (output + crop) / scale."""
        columns = self._shards.variants[variant].table("key", "crop_x", "crop_y", "scale_x", "scale_y").to_pylist()
        ids = dict(zip(self._keys, self._ids, strict=True))
        frames = {ids[row["key"]]: row for row in columns if row["key"] in ids}
        moved = []
        for result in results:
            frame = frames[result["image_id"]]
            x, y, width, height = result["bbox"]
            box = [
                (x + frame["crop_x"]) / frame["scale_x"],
                (y + frame["crop_y"]) / frame["scale_y"],
                width / frame["scale_x"],
                height / frame["scale_y"],
            ]
            moved.append({**result, "bbox": box})
        return moved

    def _matches(self, results: list[dict[str, Any]]) -> _Matches:
        with contextlib.redirect_stdout(io.StringIO()):
            detected = self._coco.loadRes(copy.deepcopy(results)) if results else _nothing(self._coco)
            evaluation = COCOeval(self._coco, detected, "bbox")
            evaluation.params.imgIds = self._ids
            evaluation.params.areaRng = evaluation.params.areaRng[:1]
            evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:1]
            evaluation.params.maxDets = [_MOST]
            evaluation.evaluate()
        return _collect(evaluation, self._ids)


def _nothing(coco: COCO) -> COCO:
    empty = COCO()
    empty.dataset = {**coco.dataset, "annotations": []}
    empty.createIndex()
    return empty


def _load(path: Path) -> list[Any]:
    try:
        results = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as COCO results ({error})") from None
    if not isinstance(results, list):
        raise UsageError(f"{path} is no COCO results file, which is a list of detections")
    return results


def _check(path: Path, results: Sequence[Any], images: set[int], categories: set[int]) -> None:
    """Raises UsageError, with counts, for detections that cannot be right."""
    for problem, is_wrong in (
        ("lack an integer image_id or category_id, a bbox of four numbers or a score", lambda r: not _is_detection(r)),
        ("have a NaN or infinite score or box", lambda r: not all(map(math.isfinite, (r["score"], *r["bbox"])))),
        ("have a box of negative size", lambda r: min(r["bbox"][2:]) < 0),
        ("are of images that the annotations do not list", lambda r: r["image_id"] not in images),
        ("are of categories that the annotations do not have", lambda r: r["category_id"] not in categories),
    ):
        wrong = [result for result in results if is_wrong(result)]
        if wrong:
            hint = ""
            if "categories" in problem:
                hint = f"; ids here are {min(categories)} to {max(categories)}, not places in a list"
            first = json.dumps(wrong[0])[:120]
            raise UsageError(f"{path}: {len(wrong):,} of {len(results):,} detections {problem} (first: {first}){hint}")


def _is_detection(result: Any) -> bool:
    if not isinstance(result, dict):
        return False
    box, score = result.get("bbox"), result.get("score")
    numbers = [*box, score] if isinstance(box, list) else []
    return (
        len(numbers) == 5
        and all(type(number) in (int, float) for number in numbers)
        and all(type(result.get(name)) is int for name in ("image_id", "category_id"))
    )


def _collect(evaluation: COCOeval, ids: Sequence[int]) -> _Matches:
    """What was matched, gathered by category from COCOeval's results for each image."""
    place = {number: index for index, number in enumerate(ids)}
    by_category: dict[int, list[dict[str, Any]]] = {number: [] for number in evaluation.params.catIds}
    for image in evaluation.evalImgs:
        if image is not None:
            by_category[image["category_id"]].append(image)
    categories, object_images, found = [], [np.zeros(0, np.int64)], [np.zeros(0, bool)]
    for images in by_category.values():
        categories.append(_category(images, place))
        for image in images:
            counts = ~np.asarray(image["gtIgnore"], bool)
            object_images.append(np.full(np.count_nonzero(counts), place[image["image_id"]]))
            found.append(np.asarray(image["gtMatches"])[0].astype(bool)[counts])
    return _Matches(categories, np.concatenate(object_images), np.concatenate(found))


def _category(images: Sequence[Mapping[str, Any]], place: Mapping[int, int]) -> _Category:
    objects = np.zeros(len(place), np.int64)
    for image in images:
        objects[place[image["image_id"]]] += np.count_nonzero(~np.asarray(image["gtIgnore"], bool))
    if not images:
        return _Category(np.zeros(0, np.int64), np.zeros((10, 0), bool), np.zeros((10, 0), bool), objects)
    scores = np.concatenate([image["dtScores"] for image in images])
    order = np.argsort(-scores, kind="mergesort")  # as pycocotools, so that equal scores fall alike
    drawn = np.concatenate([np.full(len(image["dtScores"]), place[image["image_id"]]) for image in images])[order]
    matched = np.concatenate([image["dtMatches"] for image in images], axis=1)[:, order].astype(bool)
    ignored = np.concatenate([image["dtIgnore"] for image in images], axis=1)[:, order].astype(bool)
    return _Category(drawn.astype(np.int64), matched & ~ignored, ignored, objects)


_RECALLS = np.linspace(0.0, 1.0, 101)  # pycocotools' recThrs


def _mean_ap(categories: Iterable[_Category], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """mAP for each row of `weights` (resamples, images): the mean over thresholds and categories that have objects."""
    total, counted = np.zeros(len(weights)), np.zeros(len(weights))
    for category in categories:
        objects = weights @ category.objects
        there = objects > 0
        if there.any():
            total += np.where(there, _average_precision(category, weights, np.where(there, objects, 1)), 0)
            counted += there
    counted[counted == 0] = np.nan
    mean: NDArray[np.float64] = total / counted
    return mean


def _average_precision(
    category: _Category, weights: NDArray[np.float64], objects: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The mean over IoU thresholds of the precision at 101 recalls, for each row of weights."""
    # float32 is exact here: weights are whole numbers, and their sums far below 2^24.
    drawn = weights.astype(np.float32)[:, category.image]
    detections = np.cumsum(drawn, axis=1)
    precisions = np.zeros(len(weights))
    for right, ignored in zip(category.right, category.ignored, strict=True):
        places = np.flatnonzero(right)
        if not len(places):
            continue
        true = np.cumsum(drawn[:, places], axis=1, dtype=np.float64)
        counted = detections[:, places] - _ignored_before(drawn, np.flatnonzero(ignored), places)
        precision = true / (counted + np.spacing(1))
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        # How many of the 101 recalls each true detection is the first to reach.
        reached = np.searchsorted(_RECALLS, true / objects[:, None], side="right")
        precisions += (best * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(_RECALLS)
    return precisions / len(category.right)


def _ignored_before(
    drawn: NDArray[np.float32], ignored: NDArray[np.int64], places: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How many ignored detections were drawn that are better than each of those at `places`."""
    sums = np.zeros((len(drawn), len(ignored) + 1))
    np.cumsum(drawn[:, ignored], axis=1, out=sums[:, 1:])
    return sums[:, np.searchsorted(ignored, places)]
