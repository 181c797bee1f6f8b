"""Detectors on shards: results in source pixels, and box noise against decoding by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from generators.boxes import NONE, noise
from pipelines.errors import UsageError
from pipelines.evaluate.model.cells import Cell, as_it_is
from pipelines.evaluate.model.heads.categories import CATEGORIES
from pipelines.evaluate.model.predict import predict
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.shards import Shards, open_shards
from tests.conftest import Command
from tests.pipelines.evaluate.model.heads.grids import (
    CELLS,
    KNOWN,
    SIDE,
    nanodet_outputs,
    overlap,
    yolox_output,
)
from tests.pipelines.evaluate.model.models import constant_model, predict_plain

YOLOX = Preprocessing((0.0,) * 3, (1.0,) * 3, 1.0, "rgb", "nchw", head="yolox", pad=114, placement="top_left")
NANODET = Preprocessing(
    (0.0,) * 3, (1.0,) * 3, 1.0, "bgr", "nchw", head="nanodet", pad=0, placement="center", score_threshold=0.05
)
# Width and height of each source; at a quarter of its size it fits the input's 64 pixels.
SOURCES = {1: (256, 128), 2: (128, 256), 3: (256, 256)}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, generate: Command) -> Shards:
    folder = tmp_path_factory.mktemp("coco")
    images = []
    for number, size in SOURCES.items():
        Image.effect_noise(size, 60).save(folder / f"{number}.jpg")
        images.append({"id": number, "file_name": f"{number}.jpg", "width": size[0], "height": size[1]})
    Image.effect_noise((64, 64), 60).save(folder / "9.jpg")  # not in the annotations
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
    predict_plain(shards, model, stated, tmp_path / "out")
    results = json.loads((tmp_path / "out" / "pil_bilinear.json").read_text())
    assert {result["image_id"] for result in results} == set(SOURCES)
    for number, (width, height) in SOURCES.items():
        # The source at a quarter of its size, at the top left or in the middle of the input
        spare = np.array([SIDE - width / 4, SIDE - height / 4] * 2)
        offset = spare / 2 if head == "nanodet" else 0 * spare
        own = [result for result in results if result["image_id"] == number]
        assert [result["score"] for result in own] == sorted((result["score"] for result in own), reverse=True)
        for box, _, label, score in KNOWN:
            (result,) = [result for result in own if result["category_id"] == CATEGORIES[label]]
            x1, y1, x2, y2 = ((np.array(box) - offset) * 4).tolist()
            np.testing.assert_allclose(result["bbox"], [x1, y1, x2 - x1, y2 - y1], atol=0.01)
            assert result["score"] == pytest.approx(score, abs=1e-4)


def test_boxes_scores_and_labels_in_three_outputs_are_results(
    shards: Shards, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Labels are recognised as integers; they are category ids."""
    boxes, _, labels, scores = (np.array(values) for values in zip(*KNOWN, strict=True))
    outputs = [labels + 1, boxes.astype(np.float32), scores.astype(np.float32)]
    model = constant_model(tmp_path / "m.onnx", outputs, (1, 3, SIDE, SIDE), ("classes", "dets", "chances"))
    predict_plain(shards, model, replace(YOLOX, head=None), tmp_path / "out")
    note = "head torchvision (recognised from the outputs): the model's boxes are read as input pixels"
    assert note in capfd.readouterr().err
    results = json.loads((tmp_path / "out" / "pil_bilinear.json").read_text())
    found = {result["category_id"]: result["bbox"] for result in results if result["image_id"] == 3}
    # The label 12, which is not one of COCO's categories, is skipped.
    assert found.keys() == {1, 80}
    for box, label in zip(boxes, labels, strict=True):
        if label + 1 in found:
            assert found[label + 1] == pytest.approx([*(box[:2] * 4), *((box[2:] - box[:2]) * 4)], abs=0.01)


NOISES = {"": NONE, "box_offset": noise(1), "box_offset_all": noise(1, True), "box_round": noise(rounded=True)}


def results_by_hand(
    outputs: list[NDArray[np.float32]], head: str, number: int, offset: int, everywhere: bool, rounded: bool
) -> list[tuple[float, int, list[float]]]:
    """Scores, classes and boxes in the source, best first, decoded from outputs for one image box by box, in Python."""
    boxes = []
    counted = offset if everywhere else 0
    for stride in CELLS:
        side = SIDE // stride
        for cell in range(side * side):
            row, column = divmod(cell, side)
            if head == "yolox":
                first = sum(count for other, count in CELLS.items() if other < stride)
                raw = outputs[0][0, first + cell].astype(np.float64)
                x, y = (raw[0] + column) * stride, (raw[1] + row) * stride
                w, h = np.exp(raw[2:4]) * stride
                box = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
                chances = 1 / (1 + np.exp(-raw[4:]))
                scores = chances[0] * chances[1:]
            else:
                bins, scores = (
                    output[cell].astype(np.float64) for output in outputs[2 * list(CELLS).index(stride) :][:2]
                )
                shares = np.exp(bins.reshape(4, 8)) / np.exp(bins.reshape(4, 8)).sum(axis=1, keepdims=True)
                far = (shares * np.arange(8)).sum(axis=1) * stride
                x, y = (column + 0.5) * stride, (row + 0.5) * stride
                box = [x - far[0], y - far[1], x + far[2], y + far[3]]
            box = [box[0], box[1], box[2] - offset, box[3] - offset]
            if head == "nanodet":
                box = [min(max(value, 0), SIDE - counted) for value in box]
            if rounded:
                box = [float(round(value)) for value in box]
            classes = [int(scores.argmax())] if head == "yolox" else range(80)
            boxes += [
                (float(scores[c]), c, np.array(box)) for c in classes if scores[c] > (0.01, 0.05)[head == "nanodet"]
            ]
    kept: list[tuple[float, int, NDArray[np.float64]]] = []
    for score, label, box_ in sorted(boxes, key=lambda one: -one[0]):
        if (offset or rounded) and min(box_[2:] - box_[:2] + counted) <= 0:
            continue
        if all(label != other or overlap(box_, theirs, counted) <= 0.65 for _, other, theirs in kept):
            kept.append((score, label, box_))
    width, height = SOURCES[number]
    spare = np.array([SIDE - width / 4, SIDE - height / 4] * 2) / 2 if head == "nanodet" else 0
    found = []
    for score, label, box_ in kept[:100]:
        x1, y1, x2, y2 = (box_ - spare) * 4
        # A pixel of the input is four of the source: a thin box may have no height left here.
        found.append((score, label, [x1, y1, max(x2 - x1 + counted, 0), max(y2 - y1 + counted, 0)]))
    return found


@pytest.mark.parametrize("head", ["yolox", "nanodet"])
def test_box_noise_is_that_of_decoding_by_hand(
    head: str, shards: Shards, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(3)
    if head == "yolox":
        outputs = [random.normal(0, 1, (1, sum(CELLS.values()), 85)).astype(np.float32)]
    else:
        shapes = [(count, values) for count in CELLS.values() for values in (32, 80)]
        outputs = [random.normal(0, 1, shape).astype(np.float32) for shape in shapes]
        outputs[1::2] = [random.beta(0.1, 9, output.shape).astype(np.float32) for output in outputs[1::2]]
    model = as_it_is(constant_model(tmp_path / "m.onnx", outputs, (1, 3, SIDE, SIDE)))
    reference = shards.reference
    named = {name: replace(reference, name=name or reference.name) for name in NOISES}
    everything = replace(shards, variants={variant.name: variant for variant in named.values()})
    cells = [Cell(named[name], model, boxes) for name, boxes in NOISES.items()]
    stated = replace(YOLOX if head == "yolox" else NANODET, nms_iou=0.65)
    assert predict(everything, cells, stated, tmp_path / "out") == {}
    assert "4 of 4 images predicted" in capfd.readouterr().err  # once for all box noise
    seen = set()
    for name, boxes in NOISES.items():
        text = (tmp_path / "out" / f"{named[name].name}.json").read_text()
        seen.add(text)
        for number in SOURCES:
            own = [result for result in json.loads(text) if result["image_id"] == number]
            wanted = results_by_hand(outputs, head, number, boxes.decode_offset, boxes.side_offset > 0, boxes.rounded)
            assert len(own) == len(wanted) > 5
            for result, (score, label, box) in zip(own, wanted, strict=True):
                assert result["score"] == pytest.approx(score, abs=1e-5)
                assert result["category_id"] == CATEGORIES[label]
                assert result["bbox"] == pytest.approx(box, abs=0.01)
    assert len(seen) == len(NOISES)


def test_suppression_noise_does_not_apply_if_the_graph_suppresses(
    shards: Shards, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The head is recognised; the second run knows the refused noise from the record."""
    rows = np.array([[*box, score, label] for box, _, label, score in KNOWN], np.float32)
    model = as_it_is(constant_model(tmp_path / "m.onnx", [rows[None]], (1, 3, SIDE, SIDE)))
    named = {name: replace(shards.reference, name=name or shards.reference.name) for name in NOISES}
    everything = replace(shards, variants={variant.name: variant for variant in named.values()})
    cells = [Cell(named[name], model, boxes) for name, boxes in NOISES.items()]
    note = "head end_to_end (recognised from the outputs): the model's boxes are read as input pixels"
    for printed in (note, "already predicted"):
        failed = predict(everything, cells, replace(YOLOX, head=None), tmp_path / "out")
        assert failed == {"box_offset_all": "its boxes are not suppressed here, which is where their sides would count"}
        assert printed in capfd.readouterr().err
    about = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert about["preprocessing"]["head"] is None
    for name, change in (("pil_bilinear", (0, 0)), ("box_offset", (4, 4))):  # a pixel of the input is four of a source
        results = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        own = sorted((result for result in results if result["image_id"] == 3), key=lambda result: -result["score"])
        for result, (box, _, label, score) in zip(own, sorted(KNOWN, key=lambda known: -known[3]), strict=True):
            assert (result["category_id"], result["score"]) == (CATEGORIES[label], pytest.approx(score))
            wide, high = 4 * (box[2] - box[0]) - change[0], 4 * (box[3] - box[1]) - change[1]
            assert result["bbox"] == pytest.approx([4 * box[0], 4 * box[1], wide, high], abs=1e-3)


def refused(shards: Shards, model: Path, stated: Preprocessing, folder: Path) -> str:
    with pytest.raises(UsageError) as caught:
        predict_plain(shards, model, stated, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_settings_of_a_detector_are_named(shards: Shards, tmp_path: Path) -> None:
    model = constant_model(tmp_path / "m.onnx", [yolox_output(True)[None]], (1, 3, SIDE, SIDE))
    assert "state how to pad it" in refused(shards, model, replace(YOLOX, pad=None), tmp_path / "b")
    wide = constant_model(tmp_path / "w.onnx", [yolox_output(True)[None]], (1, 3, 96, 96))
    message = refused(shards, wide, YOLOX, tmp_path / "c")
    assert "--geometry keep_ratio --size 96,96, or --geometry letterbox --size 96" in message
    open_size = constant_model(tmp_path / "o.onnx", [yolox_output(True)[None]], (1, 3, "h", "w"))
    assert "give it, such as size = 416" in refused(shards, open_size, YOLOX, tmp_path / "d")
    predict_plain(shards, open_size, replace(YOLOX, size=SIDE), tmp_path / "e")
