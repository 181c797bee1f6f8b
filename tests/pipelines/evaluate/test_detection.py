"""COCO mAP against pycocotools, and bad results named."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pipelines.errors import UsageError
from pipelines.evaluate import detection
from pipelines.evaluate.detection import Detection, Reading, open_annotations
from pipelines.evaluate.shards import Samples, open_shards
from pipelines.evaluate.statistics import Bootstrap, paired_bootstrap

Detections = list[dict[str, Any]]
BOOTSTRAP = Bootstrap(200, 0)
# Where a letterboxed image starts: 120x90 becomes 180x135 in 180x180.
FRAME_TOP = 22


def detections(annotations: Path, seed: int, shake: float) -> Detections:
    """The true boxes, shaken, some of them left out, with wrong ones between, and with scores that are often equal."""
    random = np.random.default_rng(seed)
    content = json.loads(annotations.read_text())
    found = []
    for truth in content["annotations"]:
        if random.random() < 0.85:
            box = (np.array(truth["bbox"]) + random.normal(0, shake, 4)).clip(1).round(2).tolist()
            category = truth["category_id"] if random.random() < 0.9 else 7
            score = float(random.integers(1, 10) / 10)
            found.append({"image_id": truth["image_id"], "category_id": category, "bbox": box, "score": score})
    for image in content["images"]:
        box = random.uniform((0, 0, 10, 10), (80, 50, 40, 40)).round(2).tolist()
        found.append({"image_id": image["id"], "category_id": 90, "bbox": box, "score": float(random.random())})
    return found


def write(folder: Path, name: str, found: Detections) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(found))
    return path


def pycocotools_map(truth: COCO, found: Detections) -> float:
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(found)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def load(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def scorer(folder: Path, annotations: Path, reference: Path, reading: Reading | None = None) -> Detection:
    shards = open_shards(folder)
    return Detection(shards, reference, open_annotations(annotations, shards), reading or Reading(), BOOTSTRAP)


@pytest.fixture
def task(coco: tuple[Path, Path], tmp_path: Path) -> Detection:
    folder, annotations = coco
    reference = write(tmp_path, "pil_bilinear", detections(annotations, 1, 2.0))
    return scorer(folder, annotations, reference)


@pytest.mark.parametrize("seed", range(5))
def test_map_is_pycocotools_s(seed: int, task: Detection, coco: tuple[Path, Path], tmp_path: Path) -> None:
    found = detections(coco[1], seed, 1.0)
    score = task.score("ffmpeg", write(tmp_path, "ffmpeg", found))
    theirs = pycocotools_map(load(coco[1]), found)
    assert 0.1 < theirs < 0.9
    assert score.figures["map"] == pytest.approx(theirs, abs=1e-12)


def test_a_weight_counts_as_so_many_copies_of_the_image(coco: tuple[Path, Path], tmp_path: Path) -> None:
    """Resamples by weight against a data set in which images really are there as often as they were drawn."""
    folder, annotations = coco
    found = detections(annotations, 2, 1.0)
    for place, result in enumerate(found):
        result["score"] += place / 1e6  # of equal scores, copies would come in another order
    path = write(tmp_path, "pil_bilinear", found)
    task = scorer(folder, annotations, path)
    matches = task._matches(found)
    weights = next(iter(Bootstrap(12, 7).weights(14)))
    ours = detection._mean_ap(matches.categories, weights)
    for drawn, value in zip(weights.astype(int), ours, strict=True):
        content, copies = copied(json.loads(annotations.read_text()), found, drawn.tolist())
        other = tmp_path / "copied.json"
        other.write_text(json.dumps(content))
        assert value == pytest.approx(pycocotools_map(load(other), copies), abs=1e-12)


def copied(content: dict[str, Any], found: Detections, times: list[int]) -> tuple[dict[str, Any], Detections]:
    """A data set and its detections with image i there times[i] times."""
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


def test_boxes_in_shard_pixels_score_as_those_in_source_pixels(coco: tuple[Path, Path], tmp_path: Path) -> None:
    folder, annotations = coco
    found = detections(annotations, 3, 3.0)
    framed = [{**r, "bbox": (np.array(r["bbox"]) * 1.5 + [0, FRAME_TOP, 0, 0]).tolist()} for r in found]
    scores = []
    for boxes, results in (("source", found), ("shard", framed)):
        path = write(tmp_path, "pil_bilinear", results)
        task = scorer(folder, annotations, path, Reading(boxes))
        scores.append(task.score("pil_bilinear", path))
    assert scores[0].figures["map"] == pytest.approx(scores[1].figures["map"], abs=1e-12)
    assert scores[0].comparison == (0, 0, 0, 1)


def test_a_lost_object_is_counted_where_it_is(task: Detection, coco: tuple[Path, Path], tmp_path: Path) -> None:
    found = detections(coco[1], 1, 2.0)
    for result in found:
        if result["image_id"] == 2:
            result["bbox"] = [0, 0, 1, 1]
    score = task.score("ffmpeg", write(tmp_path, "ffmpeg", found))
    assert score.comparison.delta > 0
    assert np.flatnonzero(score.lost).tolist() == [1]
    assert score.gained == 0


def test_no_detection_at_all_is_a_score_of_0(coco: tuple[Path, Path], task: Detection, tmp_path: Path) -> None:
    folder, annotations = coco
    reference = write(tmp_path, "pil_bilinear", detections(annotations, 1, 2.0))
    lenient = scorer(folder, annotations, reference, Reading(allow_empty=True))
    nothing = write(tmp_path, "ffmpeg", [])
    score = lenient.score("ffmpeg", nothing)
    assert score.figures["map"] == 0
    assert score.notes == ("ffmpeg.json has no box in 14 of 14 images",)
    with pytest.raises(UsageError, match="no box in 14 of 14 images: is it whole"):
        task.score("ffmpeg", nothing)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": float("nan")}, "1 of .* have a NaN or infinite score"),
        ({"bbox": [1, 2, float("inf"), 3]}, "have a NaN or infinite score or box"),
        ({"bbox": [1, 2, 3]}, "lack an integer image_id or category_id, a bbox of four numbers"),
        ({"bbox": [5, 5, -1, 3]}, "have a box of negative size"),
        ({"score": "high"}, "lack an integer image_id .* or a score"),
        ({"image_id": 77}, "are of images that the annotations do not list"),
        ({"category_id": 0}, "are of categories that the annotations do not have .* ids here are 1 to 90"),
    ],
)
def test_detections_that_cannot_be_right_are_named(
    change: dict[str, Any], message: str, task: Detection, coco: tuple[Path, Path], tmp_path: Path
) -> None:
    found = detections(coco[1], 1, 2.0)
    found[3] = {**found[3], **change}
    with pytest.raises(UsageError, match=message):
        task.score("ffmpeg", write(tmp_path, "ffmpeg", found))


def test_another_annotation_file_is_refused(coco: tuple[Path, Path], tmp_path: Path) -> None:
    folder, annotations = coco
    other = tmp_path / "other.json"
    other.write_text(annotations.read_text() + "\n")
    with pytest.raises(UsageError, match="not the annotation file that the shards were made with"):
        open_annotations(other, open_shards(folder))


def test_real_detections_score_as_pycocotools_says(data: Path, tmp_path: Path) -> None:
    """On the real annotations, crowds among them, with the 91-id space."""
    truth = load(data / "coco" / "annotations" / "instances_val2017.json")
    random = np.random.default_rng(0)
    found = [
        {
            **{"image_id": a["image_id"], "category_id": a["category_id"], "score": float(random.random())},
            "bbox": (np.array(a["bbox"]) + random.normal(0, 4, 4)).clip(1).tolist(),
        }
        for a in truth.dataset["annotations"]
        if random.random() < 0.8
    ]
    ids = sorted(truth.getImgIds())
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(found)), "bbox")
        evaluation.params.areaRng = evaluation.params.areaRng[:1]
        evaluation.params.areaRngLbl = ["all"]
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
    ours = detection._mean_ap(detection._collect(evaluation, ids).categories, np.ones((1, len(ids))))[0]
    assert ours == pytest.approx(pycocotools_map(truth, found), abs=1e-12)


def test_a_file_of_a_part_of_the_images_gives_no_number(
    task: Detection, coco: tuple[Path, Path], tmp_path: Path
) -> None:
    found = detections(coco[1], 1, 1.0)
    partial = [result for result in found if result["image_id"] > 2]
    path = write(tmp_path, "ffmpeg", partial)
    with pytest.raises(UsageError, match="no box in 2 of 14 images: is it whole"):
        task.score("ffmpeg", path)
    folder, annotations = coco
    reference = write(tmp_path, "pil_bilinear", found)
    lenient = scorer(folder, annotations, reference, Reading(allow_empty=True))
    assert "ffmpeg.json has no box in 2 of 14 images" in lenient.score("ffmpeg", path).notes


def test_boxes_in_few_images_fewer_than_the_reference_s_are_a_part(
    coco: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, annotations = coco
    monkeypatch.setattr(detection, "_EMPTY", 0.5)
    found = detections(annotations, 1, 1.0)
    whole = write(tmp_path, "pil_bilinear", found)
    partial = write(tmp_path, "ffmpeg", [result for result in found if result["image_id"] > 2])
    with pytest.raises(UsageError, match=r"ffmpeg.json has no box in 2 images in which pil_bilinear.json has some"):
        scorer(folder, annotations, whole).score("ffmpeg", partial)
    with pytest.raises(UsageError, match=r"ffmpeg.json has no box in 2 images in which pil_bilinear.json has some"):
        scorer(folder, annotations, partial.rename(whole.with_name("ffmpeg.json"))).score("pil_bilinear", whole)


def test_detections_that_are_there_twice_are_counted(task: Detection, coco: tuple[Path, Path], tmp_path: Path) -> None:
    found = detections(coco[1], 1, 2.0)
    score = task.score("ffmpeg", write(tmp_path, "ffmpeg", found + found))
    assert f"ffmpeg.json has {len(found)} detections more than once" in score.notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y, w, h: [x, y, x + w, y + h], "reach beyond their images in"),
        (lambda x, y, w, h: [x / 120, y / 90, w / 120, h / 90], "no larger than 1: are they shares of the image"),
        (lambda x, y, w, h: [3 * x, 3 * y, 3 * w, 3 * h], "in shard pixels with --boxes shard"),
    ],
)
def test_boxes_in_other_units_are_refused(
    change: Callable[..., list[float]], message: str, task: Detection, coco: tuple[Path, Path], tmp_path: Path
) -> None:
    found = [{**result, "bbox": change(*result["bbox"])} for result in detections(coco[1], 1, 2.0)]
    with pytest.raises(UsageError, match=message):
        task.score("ffmpeg", write(tmp_path, "ffmpeg", found))


def test_annotations_without_an_object_are_refused(coco: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, annotations = coco
    shards = open_shards(folder)
    monkeypatch.setattr(type(shards), "samples", lambda self: Samples(["000000000099"], np.array([-1])))
    with pytest.raises(UsageError, match="has no object in any of the 0 images"):
        open_annotations(annotations, shards)


def test_resamples_without_an_object_are_left_out() -> None:
    objects = np.array([1, 0, 0, 0])
    right = np.ones((10, 1), bool)
    one = detection._Category(np.array([0]), right, ~right, objects)
    values = BOOTSTRAP.values(lambda weights: detection._mean_ap([one], weights), 4)
    assert np.isnan(values).any()
    assert paired_bootstrap(0.0, values - values) == (0, 0, 0, 1)
