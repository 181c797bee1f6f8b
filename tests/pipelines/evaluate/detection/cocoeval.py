"""Figures and matches of pycocotools itself, run in the usual way."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pipelines.evaluate.detection.annotations import Annotations, choose
from pipelines.generate.sources.annotations import read_all
from pipelines.store import Disk

Detections = list[dict[str, Any]]


def load(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def annotations_of(path: Path) -> Annotations:
    """The annotations of all images, read as for scoring, without shards."""
    place = Disk(str(path))
    file, content = read_all(place)
    images = list(file.images.values())
    return choose(place, images, content, [image.key for image in images])


def evaluation(truth: COCO, found: Detections, iou_type: str = "bbox", all_areas: bool = False) -> COCOeval:
    """COCOeval's matches; with `all_areas`, only those for mAP."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluated = COCOeval(truth, truth.loadRes(copy.deepcopy(found)), iou_type)
        if all_areas:
            evaluated.params.areaRng, evaluated.params.areaRngLbl = evaluated.params.areaRng[:1], ["all"]
            evaluated.params.maxDets = [100]
        evaluated.evaluate()
    return evaluated


def mean_ap(truth: COCO, found: Detections, iou_type: str = "bbox") -> float:
    with contextlib.redirect_stdout(io.StringIO()):
        evaluated = evaluation(truth, found, iou_type)
        evaluated.accumulate()
        evaluated.summarize()
    return float(evaluated.stats[0])


def decoded(mask: Any) -> NDArray[np.uint8]:
    """The pixels of a mask in run lengths, of shape (height, width)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools is older than NumPy 2
        return np.asarray(rle.decode(mask))


def copied(content: dict[str, Any], found: Detections, times: Iterable[int]) -> tuple[dict[str, Any], Detections]:
    """A data set and its detections, with image i repeated times[i] times."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    copies: Detections = []
    for image, count in zip(content["images"], times, strict=True):
        for number in range(count):
            own = {"image_id": 1000 * image["id"] + number}
            images.append({**image, "id": own["image_id"]})
            for truth in content["annotations"]:
                if truth["image_id"] == image["id"]:
                    annotations.append({**truth, **own, "id": len(annotations) + 1})
            copies += [{**result, **own} for result in found if result["image_id"] == image["id"]]
    return {**content, "images": images, "annotations": annotations}, copies


def write(folder: Path, name: str, found: Detections) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(found))
    return path
