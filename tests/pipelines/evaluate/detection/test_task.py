"""COCO mAP against pycocotools, and the errors for bad results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.errors import UsageError
from pipelines.evaluate import statistics
from pipelines.evaluate.detection import Detection, Reading, open_annotations, results
from pipelines.evaluate.statistics import Bootstrap
from pipelines.shards import Samples, Shards, open_shards
from pipelines.store import Disk
from tests.pipelines.evaluate.detection.cocoeval import Detections, load, mean_ap, write
from tests.steps import result_of

BOOTSTRAP = Bootstrap(200, 0)
# The row at which a letterboxed image begins: 120x90 becomes 180x135 in 180x180.
FRAME_TOP = 22


def detections(annotations: Path, seed: int, shake: float) -> Detections:
    """The true boxes, jittered, some of them missing, with wrong ones among them and many equal scores."""
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


def scorer(folder: Path, annotations: Path, reference: Path, reading: Reading | None = None) -> Detection:
    shards = open_shards(folder)
    return Detection(
        shards, reference, open_annotations(Disk(str(annotations)), shards), reading or Reading(), BOOTSTRAP
    )


@pytest.fixture
def task(coco: tuple[Path, Path], tmp_path: Path) -> Detection:
    folder, annotations = coco
    reference = write(tmp_path, "pil_bilinear", detections(annotations, 1, 2.0))
    return scorer(folder, annotations, reference)


@pytest.mark.parametrize("seed", range(5))
def test_map_is_pycocotools_s(seed: int, task: Detection, coco: tuple[Path, Path], tmp_path: Path) -> None:
    found = detections(coco[1], seed, 1.0)
    score = result_of(task.score("ffmpeg", write(tmp_path, "ffmpeg", found)))
    theirs = mean_ap(load(coco[1]), found)
    assert 0.1 < theirs < 0.9
    assert score.figures["map"] == pytest.approx(theirs, abs=1e-12)


def test_boxes_in_shard_pixels_score_as_those_in_source_pixels(coco: tuple[Path, Path], tmp_path: Path) -> None:
    folder, annotations = coco
    found = detections(annotations, 3, 3.0)
    framed = [{**r, "bbox": (np.array(r["bbox"]) * 1.5 + [0, FRAME_TOP, 0, 0]).tolist()} for r in found]
    scores = []
    for boxes, placed in (("source", found), ("shard", framed)):
        path = write(tmp_path, "pil_bilinear", placed)
        task = scorer(folder, annotations, path, Reading(boxes))
        scores.append(result_of(task.score("pil_bilinear", path)))
    assert scores[0].figures["map"] == pytest.approx(scores[1].figures["map"], abs=1e-12)
    assert scores[0].comparison == (0, 0, 0, 1)


def test_a_lost_object_is_counted_in_its_image(task: Detection, coco: tuple[Path, Path], tmp_path: Path) -> None:
    found = detections(coco[1], 1, 2.0)
    for result in found:
        if result["image_id"] == 2:
            result["bbox"] = [0, 0, 1, 1]
    score = result_of(task.score("ffmpeg", write(tmp_path, "ffmpeg", found)))
    assert score.comparison.delta > 0
    assert np.flatnonzero(score.lost).tolist() == [1]
    assert score.gained == 0


def test_no_detections_score_0(coco: tuple[Path, Path], task: Detection, tmp_path: Path) -> None:
    folder, annotations = coco
    reference = write(tmp_path, "pil_bilinear", detections(annotations, 1, 2.0))
    lenient = scorer(folder, annotations, reference, Reading(allow_empty=True))
    nothing = write(tmp_path, "ffmpeg", [])
    score = result_of(lenient.score("ffmpeg", nothing))
    assert score.figures["map"] == 0
    assert score.notes == ("ffmpeg.json has no box in 14 of 14 images",)
    with pytest.raises(UsageError, match="no box in 14 of 14 images: give --allow-empty if it is complete"):
        result_of(task.score("ffmpeg", nothing))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": float("nan")}, "1 of .* have a NaN or infinite score"),
        ({"bbox": [1, 2, float("inf"), 3]}, "have a NaN or infinite score or box"),
        ({"score": 10**400}, "have a NaN or infinite score or box"),
        ({"bbox": [1, 2, 3]}, r"1 of .* have no bbox that is a list of four numbers \(first: number 4"),
        ({"bbox": [5, 5, -1, 3]}, "have a box of negative size"),
        ({"score": "high"}, "1 of .* have no score that is a number"),
        ({"image_id": 77}, "are of images that the annotations do not list"),
        ({"category_id": 0}, "are of categories that the annotations do not have .* its ids are 1 to 90"),
    ],
)
def test_invalid_detections_are_named(
    change: dict[str, Any], message: str, task: Detection, coco: tuple[Path, Path], tmp_path: Path
) -> None:
    found = detections(coco[1], 1, 2.0)
    found[3] = {**found[3], **change}
    with pytest.raises(UsageError, match=message):
        result_of(task.score("ffmpeg", write(tmp_path, "ffmpeg", found)))


def test_another_annotation_file_is_refused(coco: tuple[Path, Path], tmp_path: Path) -> None:
    folder, annotations = coco
    other = tmp_path / "other.json"
    other.write_text(annotations.read_text() + "\n")
    with pytest.raises(UsageError, match="not the annotation file that the shards were made with"):
        open_annotations(Disk(str(other)), open_shards(folder))


def test_a_partial_file_gives_no_figure(task: Detection, coco: tuple[Path, Path], tmp_path: Path) -> None:
    found = detections(coco[1], 1, 1.0)
    partial = [result for result in found if result["image_id"] > 2]
    path = write(tmp_path, "ffmpeg", partial)
    with pytest.raises(UsageError, match="no box in 2 of 14 images: give --allow-empty"):
        result_of(task.score("ffmpeg", path))
    folder, annotations = coco
    reference = write(tmp_path, "pil_bilinear", found)
    lenient = scorer(folder, annotations, reference, Reading(allow_empty=True))
    assert "ffmpeg.json has no box in 2 of 14 images" in result_of(lenient.score("ffmpeg", path)).notes


def test_a_file_with_boxes_in_fewer_images_than_the_reference_s_is_partial(
    coco: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, annotations = coco
    monkeypatch.setattr(results, "_EMPTY", 0.5)
    found = detections(annotations, 1, 1.0)
    whole = write(tmp_path, "pil_bilinear", found)
    partial = write(tmp_path, "ffmpeg", [result for result in found if result["image_id"] > 2])
    with pytest.raises(UsageError, match=r"ffmpeg.json has no box in 2 images in which pil_bilinear.json has some"):
        result_of(scorer(folder, annotations, whole).score("ffmpeg", partial))
    with pytest.raises(UsageError, match=r"ffmpeg.json has no box in 2 images in which pil_bilinear.json has some"):
        result_of(
            scorer(folder, annotations, partial.rename(whole.with_name("ffmpeg.json"))).score("pil_bilinear", whole)
        )


def test_duplicate_detections_are_counted(task: Detection, coco: tuple[Path, Path], tmp_path: Path) -> None:
    found = detections(coco[1], 1, 2.0)
    score = result_of(task.score("ffmpeg", write(tmp_path, "ffmpeg", found + found)))
    assert f"ffmpeg.json has {len(found)} duplicate detections" in score.notes


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
        result_of(task.score("ffmpeg", write(tmp_path, "ffmpeg", found)))


def test_annotations_without_objects_are_refused(coco: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, annotations = coco
    shards = open_shards(folder)
    monkeypatch.setattr(type(shards), "samples", lambda self: Samples(["000000000099"], np.array([-1])))
    with pytest.raises(UsageError, match="has no objects in the 0 images"):
        open_annotations(Disk(str(annotations)), shards)


def test_any_number_of_threads_gives_the_same_bytes(
    coco: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, annotations = coco
    path = write(tmp_path, "pil_bilinear", detections(annotations, 1, 2.0))
    monkeypatch.setattr(statistics, "_VALUES_AT_ONCE", 14 * 7)
    found = set()
    write(tmp_path, "another", [])  # else the reference would not be resampled again
    for count in (1, 2, 5):
        task = scorer(folder, annotations, path).beside(path.with_name("another.json"), count)
        found.add(result_of(task.score("pil_bilinear", path)).basis.tobytes())
    assert len(found) == 1


def shards_of(folder: Path, annotations: Path) -> Shards:
    """The shards, as if they were made with other annotations."""
    shards = open_shards(folder)
    sha256 = hashlib.sha256(annotations.read_bytes()).hexdigest()
    shards.reference.summary["config"]["source"]["annotations_sha256"] = sha256
    return shards


def test_equal_scores_are_ordered_by_image_id(coco: tuple[Path, Path], tmp_path: Path) -> None:
    folder, annotations = coco
    content = json.loads(annotations.read_text())
    for number, image in enumerate(content["images"]):
        image["id"] = 100 - number
    for truth in content["annotations"]:
        truth["image_id"] = 101 - truth["image_id"]
    backwards = tmp_path / "backwards.json"
    backwards.write_text(json.dumps(content))
    shards = shards_of(folder, backwards)
    found = [{**result, "score": 0.5} for result in detections(backwards, 1, 2.0)]
    reference = write(tmp_path, "pil_bilinear", found)
    task = Detection(shards, reference, open_annotations(Disk(str(backwards)), shards), Reading(), BOOTSTRAP)
    score = result_of(task.score("pil_bilinear", reference))
    assert score.figures["map"] == pytest.approx(mean_ap(load(backwards), found), abs=1e-12)
    worse = [{**result, "bbox": [0, 0, 1, 1]} if result["image_id"] == 99 else result for result in found]
    assert np.flatnonzero(result_of(task.score("ffmpeg", write(tmp_path, "ffmpeg", worse))).lost).tolist() == [1]
