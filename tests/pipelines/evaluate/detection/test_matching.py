"""Matches and mAP against pycocotools itself, in worlds full of ties, crowds and ignored objects."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.cocoeval import COCOeval

from pipelines.evaluate.detection.annotations import boxes_of
from pipelines.evaluate.detection.matching import Category, Matches, match
from pipelines.evaluate.detection.precision import Precision
from pipelines.evaluate.detection.results import Known, Reading, read_results
from tests.pipelines.evaluate.detection.cocoeval import Detections, annotations_of, evaluation, load, mean_ap, write

CATEGORIES = (3, 7, 8, 44)
BEYOND_ALL_AREAS = 1e11


def world(seed: int, folder: Path) -> tuple[Path, Detections]:
    """Annotations of 9 images, and detections, on a grid so coarse that many overlaps and scores are equal.

    Image 10 has nothing, 11 no objects, 12 no detections, and 13 more than a hundred detections of a class.
    """
    random = np.random.default_rng(seed)
    images = [{"id": int(number), "file_name": f"{number}.jpg"} for number in random.permutation(np.arange(10, 19))]
    annotations: list[dict[str, Any]] = [{"id": 1, "image_id": 14, "category_id": 3, "bbox": [1, 1, 4, 4], "area": 16}]
    found: Detections = []
    for image in images:
        for _ in range(0 if image["id"] in (10, 11) else int(random.integers(1, 14))):
            area = BEYOND_ALL_AREAS if random.random() < 0.1 else 20
            own = {"category_id": int(random.choice(CATEGORIES[:3])), "area": area}
            annotations.append({**own, "id": len(annotations) + 1, "image_id": image["id"], "bbox": grid(random)})
        for _ in range(0 if image["id"] in (10, 12) else 260 if image["id"] == 13 else int(random.integers(1, 40))):
            own = {"category_id": int(random.choice(CATEGORIES)), "score": int(random.integers(1, 6)) / 5}
            found.append({**own, "image_id": image["id"], "bbox": grid(random)})
    for annotation in annotations:
        annotation["iscrowd"] = int(random.random() < 0.15)
    found.append({"image_id": 14, "category_id": 3, "score": 0.8, "bbox": [1, 1, 4, 4]})
    # Larger than COCO's range of areas, so it is ignored unless it matches.
    found.append({"image_id": 14, "category_id": 3, "score": 0.9, "bbox": [0, 0, 1e6, 1e6]})
    categories = [{"id": number, "name": str(number)} for number in CATEGORIES[::-1]]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path, found


def grid(random: np.random.Generator) -> list[int]:
    """One of few possible boxes, so that many are equal."""
    return [*random.integers(0, 4, 2).tolist(), *random.integers(3, 6, 2).tolist()]


def ours(annotations: Path, found: Detections, folder: Path) -> Matches:
    truth = annotations_of(annotations)
    ids = sorted(truth.images)
    known = Known(truth.images, truth.categories, ids, {}, {})
    detections = read_results(write(folder, "results", found), known, Reading(allow_empty=True))
    return match(boxes_of(truth, ids), detections, len(truth.categories))


def theirs(evaluated: COCOeval) -> Matches:
    """COCOeval's results for each image, by category."""
    ids = evaluated.params.imgIds
    categories, images, found = [], [], []
    for number in evaluated.params.catIds:
        own = [one for one in evaluated.evalImgs if one is not None and one["category_id"] == number]
        places = [ids.index(one["image_id"]) for one in own]
        order = np.argsort([-score for one in own for score in one["dtScores"]], kind="mergesort")
        matched = np.concatenate([np.zeros((10, 0)), *(one["dtMatches"] for one in own)], axis=1)[:, order] > 0
        ignored = np.concatenate([np.zeros((10, 0)), *(one["dtIgnore"] for one in own)], axis=1)[:, order] > 0
        drawn = np.repeat(places, [len(one["dtIds"]) for one in own])[order].astype(int)
        counting = [~np.asarray(one["gtIgnore"], bool) for one in own]
        objects = np.repeat(places, [np.count_nonzero(those) for those in counting]).astype(int)
        categories.append(Category(drawn, matched & ~ignored, ignored, objects))
        images.append(objects)
        found += [one["gtMatches"][0][those] > 0 for one, those in zip(own, counting, strict=True)]
    return Matches(categories, np.concatenate(images), np.concatenate(found))


@pytest.mark.parametrize("seed", range(8))
def test_matches_are_pycocotools_s(seed: int, tmp_path: Path) -> None:
    path, found = world(seed, tmp_path)
    mine, other = ours(path, found, tmp_path), theirs(evaluation(load(path), found, all_areas=True))
    for own, category in zip(mine.categories, other.categories, strict=True):
        for name in Category._fields:
            assert np.array_equal(getattr(own, name), getattr(category, name)), name
    assert np.array_equal(mine.object_image, other.object_image)
    assert np.array_equal(mine.found, other.found)
    assert max(np.bincount(category.image, minlength=1).max(initial=0) for category in mine.categories) <= 100
    assert any(category.ignored.any() for category in mine.categories)
    assert 0 < mine.found.mean() < 1


NUMBERINGS: list[Callable[[int, dict[str, Any]], dict[str, Any]]] = [
    lambda place, own: own | {"id": place},  # from 0
    lambda place, own: own | {"id": 7},
    lambda place, own: own | {"id": own["category_id"]},
    lambda place, own: own | {"id": f"{place:x}"},
    lambda place, own: own | {"id": -0.5 * place},
    lambda place, own: own | {"id": None},
    lambda place, own: {name: value for name, value in own.items() if name != "id"},
]


@pytest.mark.parametrize("numbered", NUMBERINGS)
def test_annotation_ids_do_not_matter(
    numbered: Callable[[int, dict[str, Any]], dict[str, Any]], tmp_path: Path
) -> None:
    path, found = world(5, tmp_path)
    expected = mean_ap(load(path), found)
    content = json.loads(path.read_text())
    content["annotations"] = [numbered(place, own) for place, own in enumerate(content["annotations"])]
    path.write_text(json.dumps(content))
    value = Precision(ours(path, found, tmp_path).categories, 9).mean(np.ones((1, 9)))[0]
    assert value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_map_is_pycocotools_s(seed: int, tmp_path: Path) -> None:
    path, found = world(seed, tmp_path)
    value = Precision(ours(path, found, tmp_path).categories, 9).mean(np.ones((1, 9)))[0]
    expected = mean_ap(load(path), found)
    assert 0.02 < expected < 0.98
    assert value == pytest.approx(expected, abs=1e-12)


def test_no_detections_match_nothing(tmp_path: Path) -> None:
    path, _ = world(0, tmp_path)
    matches = ours(path, [], tmp_path)
    assert not matches.found.any()
    assert Precision(matches.categories, 9).mean(np.ones((1, 9))).tolist() == [0]


def test_real_annotations_score_as_pycocotools_says(data: Path, tmp_path: Path) -> None:
    """Including crowds, with COCO's 90 category ids."""
    path = data / "coco" / "annotations" / "instances_val2017.json"
    random = np.random.default_rng(0)
    found = [
        {
            **{"image_id": a["image_id"], "category_id": a["category_id"], "score": float(random.random())},
            "bbox": (np.array(a["bbox"]) + random.normal(0, 4, 4)).clip(1).tolist(),
        }
        for a in json.loads(path.read_text())["annotations"]
        if random.random() < 0.8
    ]
    count = len(load(path).imgs)
    value = Precision(ours(path, found, tmp_path).categories, count).mean(np.ones((1, count)))[0]
    assert value == pytest.approx(mean_ap(load(path), found), abs=1e-12)
