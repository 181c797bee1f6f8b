"""mAP at chance level: misread boxes and categories are recognised, and poor detectors are not doubted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.evaluate.chance.boxes import Frame, Scored, doubt
from pipelines.evaluate.chance.given import Given
from pipelines.evaluate.detection.matching import Detections, Objects, match
from pipelines.evaluate.detection.precision import Precision

IDS = [1, 2, 3, 5, 8, 13, 21, 34]  # with gaps, as COCO's
IMAGES = 30
Boxes = NDArray[np.float64]


def made(random: np.random.Generator, each: int = 5) -> Objects:
    """`each` objects per image, of all categories, in images of 640 by 480."""
    count = IMAGES * each
    corner, size = random.uniform((0, 0), (500, 380), (count, 2)), random.uniform(20, 100, (count, 2))
    boxes, image = np.concatenate([corner, size], axis=1), np.repeat(np.arange(IMAGES), each)
    no = np.zeros(count, bool)
    category = random.integers(0, len(IDS), count)
    columns = {"image": image, "category": category, "crowd": no, "ignored": no, "region": boxes}
    return Objects(**{name: columns.get(name, ~no) for name in Objects._fields})


def detected(objects: Objects, random: np.random.Generator, found: float = 0.9) -> Detections:
    """Detections of a share of the objects, nearly in their places."""
    kept = np.flatnonzero(random.random(len(objects.image)) < found)
    boxes = objects.region[kept] + random.normal(0, 1, (len(kept), 4))
    return Detections(objects.image[kept], objects.category[kept], random.random(len(kept)), boxes)


def doubted(objects: Objects, detections: Detections, given: Given | None = None, frame: Frame | None = None) -> str:
    matches = match(objects, detections, len(IDS))
    value = float(Precision(matches.categories, IMAGES).mean(np.ones((1, IMAGES)))[0])
    return doubt(Scored(objects, detections, IDS, IMAGES, frame), value, given or Given())


def joined(*columns: Boxes) -> Boxes:
    return np.concatenate(columns, axis=1)


REGIONS: dict[str, Callable[[Boxes, Boxes], Boxes]] = {
    "their centres, widths and heights": lambda xy, wh: joined(xy + wh / 2, wh),
    "their left, top, right and bottom": lambda xy, wh: joined(xy, xy + wh),
    "y, x, height and width": lambda xy, wh: joined(xy[:, ::-1], wh[:, ::-1]),
    "their top, left, bottom and right": lambda xy, wh: joined(xy[:, ::-1], (xy + wh)[:, ::-1]),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("what", REGIONS)
def test_what_four_numbers_mean_is_found(what: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    objects = made(random)
    right = detected(objects, random)
    wrong = right._replace(region=REGIONS[what](right.region[:, :2], right.region[:, 2:]))
    assert doubted(objects, right) == ""
    assert f"if boxes are read as {what}: give x, y, width and height" in doubted(objects, wrong)
    assert "check the given --head" in doubted(objects, wrong, Given(True, frozenset({"head"})))


@pytest.mark.parametrize("seed", range(3))
def test_another_frame_is_found_and_the_wrong_option_named(seed: int) -> None:
    random = np.random.default_rng(seed)
    objects = made(random)
    right = detected(objects, random)
    crop, scale = np.full((IMAGES, 2), (0.0, -80.0)), np.full((IMAGES, 2), 0.5)
    at = right.image
    in_shard = right._replace(
        region=joined(right.region[:, :2] * scale[at] - crop[at], right.region[:, 2:] * scale[at])
    )
    assert doubted(objects, in_shard, None, Frame(crop, scale, shard=False)).endswith("give --boxes shard")
    moved = right._replace(region=joined((right.region[:, :2] + crop[at]) / scale[at], right.region[:, 2:] / scale[at]))
    assert doubted(objects, moved, None, Frame(crop, scale, shard=True)).endswith("leave out --boxes shard")
    centres = joined(in_shard.region[:, :2] + in_shard.region[:, 2:] / 2, in_shard.region[:, 2:])
    moved = right._replace(region=joined((centres[:, :2] + crop[at]) / scale[at], centres[:, 2:] / scale[at]))
    assert "read as their centres" in doubted(objects, moved, None, Frame(crop, scale, shard=True))


@pytest.mark.parametrize("seed", range(3))
def test_other_categories_are_found(seed: int) -> None:
    random = np.random.default_rng(seed)
    objects = made(random)
    right = detected(objects, random)
    ids, places = np.array(IDS), {number: place for place, number in enumerate(IDS)}
    # Indices from 1 that happen to be ids: 1, 2, 3, 5 and 8.
    kept = right.take(np.flatnonzero(np.isin(right.category + 1, ids) & (right.category > 2)))
    shifted = kept._replace(category=np.array([places[place + 1] for place in kept.category.tolist()]))
    assert "category ids are read as indices of the list of categories, from 1" in doubted(objects, shifted)
    mixed = right._replace(category=np.roll(np.arange(len(IDS)), 3)[right.category])
    found = doubted(objects, mixed)
    assert "categories do not: they are in another order than the annotations' ids" in found


@pytest.mark.parametrize("seed", range(3))
def test_boxes_of_other_images_fit_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    objects = made(random)
    right = detected(objects, random)
    found = doubted(objects, right._replace(image=(right.image + 1) % IMAGES))
    assert "Boxes do not fit, regardless of category; usual causes: boxes of other images" in found


@pytest.mark.parametrize("seed", range(3))
def test_few_objects_missing_categories_and_poor_detectors_are_not_doubted(seed: int) -> None:
    random = np.random.default_rng(seed)
    few = made(random, each=1).take(np.arange(20))
    wrong = detected(few, random)
    assert doubted(few, wrong._replace(image=(wrong.image + 7) % IMAGES)) == ""
    objects = made(random)
    assert doubted(objects, detected(objects, random, 0.3)) == ""
    one = detected(objects, random)
    assert doubted(objects, one.take(np.flatnonzero(one.category == 3))) == ""
    assert doubted(objects, one.take(np.zeros(0, np.int64))) == ""
