"""Boxes put into head outputs come back out, in source pixels; suppression agrees with its definition."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.errors import UsageError
from pipelines.evaluate.model.detector import choose
from pipelines.evaluate.model.heads import CATEGORIES, Boxes, nanodet, yolox
from pipelines.evaluate.model.predict import predict
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.shards import Shards, open_shards
from tests.conftest import Command
from tests.pipelines.evaluate.model.models import constant_model

SIDE = 64
CELLS = {8: 64, 16: 16, 32: 4}
# x1, y1, x2, y2 in input pixels; stride, class and score.
KNOWN = [
    ((9.5, 12.25, 40.0, 30.5), 8, 0, 0.9),
    ((2.0, 3.0, 60.0, 61.0), 32, 79, 0.6),
    ((30.0, 28.0, 62.0, 50.0), 16, 11, 0.75),
]
YOLOX = Preprocessing((0.0,) * 3, (1.0,) * 3, 1.0, "rgb", "nchw", head="yolox", pad=114, placement="top_left")
NANODET = Preprocessing(
    (0.0,) * 3, (1.0,) * 3, 1.0, "bgr", "nchw", head="nanodet", pad=0, placement="center", score_threshold=0.05
)


def logit(score: float) -> float:
    return float(np.log(score / (1 - score)))


def cell_of(box: tuple[float, ...], stride: int) -> tuple[int, int]:
    """The column and row of the cell that a box's centre lies in."""
    return int((box[0] + box[2]) / 2 // stride), int((box[1] + box[3]) / 2 // stride)


def yolox_output(logits: bool) -> NDArray[np.float32]:
    """YOLOX's encoding: centre minus cell, logarithm of sides, both in strides."""
    out = np.zeros((sum(CELLS.values()), 85))
    out[:, 4:] = -9.0 if logits else 0.0
    for box, stride, label, score in KNOWN:
        first = sum(count for other, count in CELLS.items() if other < stride)
        column, row = cell_of(box, stride)
        cell = out[first + row * (SIDE // stride) + column]
        cell[0], cell[1] = (box[0] + box[2]) / 2 / stride - column, (box[1] + box[3]) / 2 / stride - row
        cell[2], cell[3] = np.log((box[2] - box[0]) / stride), np.log((box[3] - box[1]) / stride)
        objectness, own = (0.95, score / 0.95)
        cell[4], cell[5 + label] = (logit(objectness), logit(own)) if logits else (objectness, own)
    return out.astype(np.float32)


def nanodet_outputs(logits: bool) -> list[NDArray[np.float32]]:
    """NanoDet's: each distance from the cell's middle in strides, split between the two whole bins around it."""
    found = []
    for stride, count in CELLS.items():
        classes = np.full((count, 80), -9.0 if logits else 0.0)
        bins = np.full((count, 4, 8), -30.0)
        bins[..., 0] = 0.0
        for box, own, label, score in KNOWN:
            if own != stride:
                continue
            column, row = cell_of(box, stride)
            cell = row * (SIDE // stride) + column
            classes[cell, label] = logit(score) if logits else score
            x, y = (column + 0.5) * stride, (row + 0.5) * stride
            for side, distance in enumerate((x - box[0], y - box[1], box[2] - x, box[3] - y)):
                below, share = int(distance / stride), distance / stride % 1
                bins[cell, side] = -30.0
                bins[cell, side, below], bins[cell, side, below + 1] = np.log(1 - share + 1e-9), np.log(share + 1e-9)
        found += [bins.reshape(count, 32).astype(np.float32), classes.astype(np.float32)]
    return found


def expect(boxes: Boxes) -> None:
    for box, _, label, score in KNOWN:
        place = int(boxes.scores[:, label].argmax())
        assert boxes.scores[place, label] == pytest.approx(score, abs=1e-4)
        np.testing.assert_allclose(boxes.corners[place], box, atol=1e-3)
    assert np.count_nonzero(boxes.scores > 0.05) == len(KNOWN)


@pytest.mark.parametrize("logits", [True, False])
def test_yolox_boxes_come_back(logits: bool) -> None:
    boxes = yolox([yolox_output(logits)], SIDE, SIDE)
    assert boxes.logits is logits
    expect(boxes)


@pytest.mark.parametrize("logits", [True, False])
def test_nanodet_boxes_come_back_whatever_the_order_of_outputs(logits: bool) -> None:
    outputs = nanodet_outputs(logits)
    expect(nanodet(outputs, SIDE, SIDE))
    expect(nanodet([outputs[i] for i in (3, 0, 5, 1, 4, 2)], SIDE, SIDE))


def test_outputs_of_other_heads_are_refused() -> None:
    with pytest.raises(UsageError, match=r"84x85.*not those of the head nanodet"):
        nanodet([yolox_output(True)], SIDE, SIDE)
    with pytest.raises(UsageError, match="not those of the head yolox"):
        yolox(nanodet_outputs(True), SIDE, SIDE)
    with pytest.raises(UsageError, match="not those of the head yolox"):
        yolox([yolox_output(True)], 96, 96)
    decoded = yolox_output(True)
    decoded[:, 2:4] = np.exp(decoded[:, 2:4]) * 32
    with pytest.raises(UsageError, match="decoded already"):
        yolox([decoded], SIDE, SIDE)


def test_a_score_that_strays_by_rounding_is_still_a_probability() -> None:
    output = yolox_output(False)
    output[0, 6], output[1, 7] = 1.0000002, -1e-7
    boxes = yolox([output], SIDE, SIDE)
    assert not boxes.logits
    assert (boxes.scores >= 0).all()
    assert (boxes.scores <= 1).all()


def overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    return shared / (float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - shared)


@pytest.mark.parametrize("one_class", [True, False])
def test_suppression_is_greedy_within_each_class(one_class: bool) -> None:
    rng = np.random.default_rng(5)
    corner = rng.uniform(-20, 60, (60, 2))
    corners = np.concatenate([corner, corner + rng.uniform(10, 40, (60, 2))], axis=1).astype(np.float32)
    scores = np.zeros((60, 80), np.float32)
    scores[:, :3] = rng.permutation(180).reshape(60, 3) / 200
    found = choose(Boxes(corners, scores, False), 0.5, 0.5, one_class)
    kept: list[tuple[float, int, int]] = []
    for score, row, label in sorted(((s, r, c) for (r, c), s in np.ndenumerate(scores) if s > 0.5), reverse=True):
        if one_class and scores[row].argmax() != label:
            continue
        mine = corners[row].astype(np.float64)
        if all(label != c or overlap(mine, corners[r].astype(np.float64)) <= 0.5 for _, r, c in kept):
            kept.append((float(score), row, label))
    assert 10 < len(kept) <= 100
    assert found.classes.tolist() == [label for *_, label in kept]
    np.testing.assert_allclose(found.scores, [score for score, *_ in kept])
    np.testing.assert_array_equal(found.corners, corners[[row for _, row, _ in kept]])


def test_no_more_than_a_hundred_and_none_of_none() -> None:
    corners = np.array([[i * 10, 0, i * 10 + 5, 5] for i in range(150)], np.float32)
    scores = np.zeros((150, 80), np.float32)
    scores[:, 3] = np.arange(150) / 150
    assert choose(Boxes(corners, scores, False), 0.0, 0.5, False).scores.tolist() == scores[:49:-1, 3].tolist()
    assert len(choose(Boxes(corners, 0 * scores, False), 0.0, 0.5, True).scores) == 0


def test_categories_are_those_of_the_annotations(data: Path) -> None:
    known = json.loads((data / "coco" / "annotations" / "instances_val2017.json").read_text())["categories"]
    assert list(CATEGORIES) == [category["id"] for category in known]


# Width and height of each source: a quarter of it fits the input's 64 pixels.
SOURCES = {1: (256, 128), 2: (128, 256), 3: (256, 256)}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, generate: Command) -> Shards:
    folder = tmp_path_factory.mktemp("coco")
    images = []
    for number, size in SOURCES.items():
        Image.effect_noise(size, 60).save(folder / f"{number}.jpg")
        images.append({"id": number, "file_name": f"{number}.jpg", "width": size[0], "height": size[1]})
    Image.effect_noise((64, 64), 60).save(folder / "9.jpg")  # which the annotations do not know
    annotations = folder / "instances.json"
    annotations.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    words = ["--dataset", "coco", "--source", str(folder), "--annotations", str(annotations), "--variant", "pil"]
    words += ["--size", f"{SIDE},{SIDE}", "--output", str(folder / "out")]
    generate(*words)
    return open_shards(folder / "out")


@pytest.mark.parametrize("head", ["yolox", "nanodet"])
def test_results_are_in_source_pixels(head: str, shards: Shards, tmp_path: Path) -> None:
    stated = YOLOX if head == "yolox" else NANODET
    outputs = [yolox_output(True)[None]] if head == "yolox" else nanodet_outputs(False)
    model = constant_model(tmp_path / "m.onnx", outputs, (1, 3, SIDE, SIDE))
    predict(shards, model, stated, tmp_path / "out", 1)
    results = json.loads((tmp_path / "out" / "pil_bilinear.json").read_text())
    assert {result["image_id"] for result in results} == set(SOURCES)
    for number, (width, height) in SOURCES.items():
        # A quarter of the source, at the top left or in the middle of the input
        spare = np.array([SIDE - width / 4, SIDE - height / 4] * 2)
        offset = spare / 2 if head == "nanodet" else 0 * spare
        own = [result for result in results if result["image_id"] == number]
        assert [result["score"] for result in own] == sorted((result["score"] for result in own), reverse=True)
        for box, _, label, score in KNOWN:
            (result,) = [result for result in own if result["category_id"] == CATEGORIES[label]]
            x1, y1, x2, y2 = ((np.array(box) - offset) * 4).tolist()
            np.testing.assert_allclose(result["bbox"], [x1, y1, x2 - x1, y2 - y1], atol=0.01)
            assert result["score"] == pytest.approx(score, abs=1e-4)


def refused(shards: Shards, model: Path, stated: Preprocessing, folder: Path) -> str:
    with pytest.raises(UsageError) as caught:
        predict(shards, model, stated, folder, 1)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_a_detector_must_be_told(shards: Shards, tmp_path: Path) -> None:
    model = constant_model(tmp_path / "m.onnx", [yolox_output(True)[None]], (1, 3, SIDE, SIDE))
    assert "needs a head" in refused(shards, model, replace(YOLOX, head=None), tmp_path / "a")
    assert "say what is around it" in refused(shards, model, replace(YOLOX, pad=None), tmp_path / "b")
    wide = constant_model(tmp_path / "w.onnx", [yolox_output(True)[None]], (1, 3, 96, 96))
    message = refused(shards, wide, YOLOX, tmp_path / "c")
    assert "--geometry keep_ratio --size 96,96, or --geometry letterbox --size 96" in message
    open_size = constant_model(tmp_path / "o.onnx", [yolox_output(True)[None]], (1, 3, "h", "w"))
    assert "give it, such as size = 416" in refused(shards, open_size, YOLOX, tmp_path / "d")
    predict(shards, open_size, replace(YOLOX, size=SIDE), tmp_path / "e", 1)
