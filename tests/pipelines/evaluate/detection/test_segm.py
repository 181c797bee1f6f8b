"""Scores of instance masks, in all their forms, against pycocotools', and refused masks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as rle

from generators.geometry import frame
from pipelines.errors import UsageError
from pipelines.evaluate.detection import Detection, Reading, open_annotations
from pipelines.evaluate.statistics import Bootstrap
from pipelines.shards import Shards, open_shards
from pipelines.store import Disk
from tests.pipelines.evaluate.detection.cocoeval import Detections, annotations_of, decoded, load, mean_ap, write
from tests.pipelines.evaluate.made import Made
from tests.steps import result_of

FRAME = frame("letterbox", 120, 90, (180,))
SIZE = (90, 120)


def shaken(annotations: Path, seed: int) -> Detections:
    """The true triangles, jittered, some of them missing or with another class."""
    random = np.random.default_rng(seed)
    found = []
    for truth in json.loads(annotations.read_text())["annotations"]:
        if random.random() < 0.9:
            points = (np.array(truth["segmentation"][0]) + random.normal(0, 2, 6)).clip(1, 119).round(2).tolist()
            category = truth["category_id"] if random.random() < 0.9 else 7
            score = float(random.integers(1, 10) / 10)
            found.append({"image_id": truth["image_id"], "category_id": category, "score": score, "points": points})
    return found


def given(found: Detections, form: Callable[[list[float]], Any], **more: Any) -> Detections:
    """Results as in a file, with masks in a given form."""
    return [
        {
            **{name: value for name, value in one.items() if name != "points"},
            "segmentation": form(one["points"]),
            **more,
        }
        for one in found
    ]


def polygons(points: list[float]) -> Any:
    return [points]


def encoded(points: list[float], size: tuple[int, int] = SIZE) -> Any:
    runs = rle.merge(rle.frPyObjects([points], *size))
    return {"size": list(size), "counts": runs["counts"].decode()}


def plain(points: list[float]) -> Any:
    values = decoded(encoded(points)).ravel(order="F")
    edges = np.flatnonzero(np.diff(values, prepend=0))
    return {"size": list(SIZE), "counts": np.diff(edges, prepend=0, append=len(values)).tolist()}


def scorer(folder: Path, annotations: Path, reference: Path, reading: Reading | None = None) -> Detection:
    shards = open_shards(folder)
    reading = reading or Reading(iou_type="segm", allow_empty=True)
    return Detection(shards, reference, open_annotations(Disk(str(annotations)), shards), reading, Bootstrap(50, 0))


@pytest.mark.parametrize("form", [polygons, encoded, plain])
@pytest.mark.parametrize("more", [{}, {"bbox": [0, 0, 2, 2]}, {"bbox": "none"}])
def test_mask_map_is_pycocotools_s(
    form: Callable[[list[float]], Any], more: dict[str, Any], coco: tuple[Path, Path], tmp_path: Path
) -> None:
    """With any box, or none: pycocotools then uses only the masks."""
    folder, annotations = coco
    found = shaken(annotations, 1)
    path = write(tmp_path, "pil_bilinear", given(found, form, **more))
    value = result_of(scorer(folder, annotations, path).score("pil_bilinear", path)).figures["map"]
    expected = mean_ap(load(annotations), given(found, encoded), "segm")
    assert 0.1 < expected < 0.9
    assert value == pytest.approx(expected, abs=1e-12)


def test_boxes_are_scored_although_there_are_masks(coco: tuple[Path, Path], tmp_path: Path) -> None:
    folder, annotations = coco
    boxes = [
        {**{name: truth[name] for name in ("image_id", "category_id", "bbox")}, "score": 0.5, "segmentation": "none"}
        for truth in json.loads(annotations.read_text())["annotations"]
        if not truth["iscrowd"]
    ]
    path = write(tmp_path, "pil_bilinear", boxes)
    task = scorer(folder, annotations, path, Reading(allow_empty=True))
    assert result_of(task.score("pil_bilinear", path)).figures["map"] == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("form", [polygons, encoded])
def test_masks_in_shard_pixels_are_moved_to_the_source(
    form: Callable[..., Any], coco: tuple[Path, Path], tmp_path: Path
) -> None:
    """At 1.5 times its size a mask is as fine as in the source, and scores nearly the same; unmoved, it is refused."""
    folder, annotations = coco
    found = shaken(annotations, 2)
    framed = [{**one, "points": FRAME.to_output(np.array(one["points"])).tolist()} for one in found]
    in_frame = given(framed, polygons if form is polygons else lambda points: encoded(points, (180, 180)))
    path = write(tmp_path, "pil_bilinear", in_frame)
    shard = scorer(folder, annotations, path, Reading("shard", allow_empty=True, iou_type="segm"))
    expected = mean_ap(load(annotations), given(found, encoded), "segm")
    assert result_of(shard.score("pil_bilinear", path)).figures["map"] == pytest.approx(expected, abs=0.02)
    with pytest.raises(UsageError, match=r"scored with --boxes shard|in shard pixels with --boxes shard"):
        scorer(folder, annotations, path)
    with pytest.raises(UsageError, match="masks are scored with --iou-type segm"):
        scorer(folder, annotations, path, Reading())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segmentation": None}, "1 of .* detections lack a mask"),
        ({"segmentation": {"size": [90, 121], "counts": "0"}}, "1 of .* `size` is not the .*--boxes shard$"),
        ({"segmentation": {"size": [90, 120], "counts": "0"}}, "1 of .* do not add up to the pixels"),
        ({"segmentation": [[1, 2, 3, 4]]}, "1 of .* have a polygon that is not a flat list"),
        ({"score": float("nan")}, "1 of .* have a NaN or infinite score "),
        ({"score": None}, "1 of .* have no score that is a number"),
    ],
)
def test_invalid_masks_are_named(change: dict[str, Any], message: str, coco: tuple[Path, Path], tmp_path: Path) -> None:
    folder, annotations = coco
    found = given(shaken(annotations, 1), encoded)
    found[3] |= change
    with pytest.raises(UsageError, match=message):
        scorer(folder, annotations, write(tmp_path, "pil_bilinear", found))


def test_objects_without_a_mask_are_refused_and_not_scored_as_boxes(coco: tuple[Path, Path], tmp_path: Path) -> None:
    folder, annotations = coco
    content = json.loads(annotations.read_text())
    del content["annotations"][2]["segmentation"]
    content["annotations"][4]["segmentation"] = []
    other = tmp_path / "instances.json"
    other.write_text(json.dumps(content))
    path = write(tmp_path, "pil_bilinear", given(shaken(annotations, 1), encoded))
    with pytest.raises(UsageError, match=r"2 of \d+ objects in the scored images lack a mask.*first: number 3 of its"):
        Detection(open_shards(folder), path, annotations_of(other), Reading(iou_type="segm"), Bootstrap(50, 0))


def test_a_task_names_its_metric_and_region(coco: tuple[Path, Path], tmp_path: Path) -> None:
    folder, annotations = coco
    path = write(tmp_path, "pil_bilinear", given(shaken(annotations, 1), encoded))
    task = scorer(folder, annotations, path)
    assert (task.metric, task.iou_type) == ("map", "segm")
    few = [one for one in json.loads(path.read_text()) if one["image_id"] > 2]
    assert "ffmpeg.json has no mask in" in result_of(task.score("ffmpeg", write(tmp_path, "ffmpeg", few))).notes[0]


def test_real_masks_score_as_pycocotools_says(data: Path, tmp_path: Path) -> None:
    """Including crowds, whose runs are not compressed."""
    path = data / "coco" / "annotations" / "instances_masks.json"
    truth = load(path)
    random = np.random.default_rng(3)
    found = []
    for one in truth.dataset["annotations"]:
        if random.random() < 0.8:
            mask = np.roll(decoded(truth.annToRLE(one)), random.integers(-4, 5, 2), (0, 1))
            runs = rle.encode(np.asfortranarray(mask))
            segmentation = {"size": runs["size"], "counts": runs["counts"].decode()}
            own = {name: one[name] for name in ("image_id", "category_id")}
            found.append({**own, "score": float(random.random()), "segmentation": segmentation})
    reference = write(tmp_path, "pil_bilinear", found)

    base = Made("pil_bilinear", Disk(str(tmp_path)), {"variant": {}, "config": {"dataset": "coco"}, "count": 0})
    shards = Shards(base.folder, base, {"pil_bilinear": base}, ())
    reading = Reading(allow_empty=True, iou_type="segm")
    task = Detection(shards, reference, annotations_of(path), reading, Bootstrap(50, 0))
    value = result_of(task.score("pil_bilinear", reference)).figures["map"]
    assert value == pytest.approx(mean_ap(load(path), found, "segm"), abs=1e-12)
