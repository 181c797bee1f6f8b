"""Which head reads a model's outputs, its classes and units, and the errors for ambiguous outputs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generators.boxes import NONE, noise
from pipelines.errors import UsageError
from pipelines.evaluate.model.heads import HEADS, find_head
from pipelines.evaluate.model.heads.categories import CATEGORIES
from pipelines.evaluate.model.heads.common import Boxes, Given
from pipelines.evaluate.model.inputs import Image, Inputs
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.model.readers.boxes import Detector, check
from pipelines.evaluate.model.runtimes import Input
from tests.pipelines.evaluate.model.heads.scenes import EXPORTED, SIDE, Named, centred, chosen, scene, single, yolov8

GIVEN = Given(SIDE, SIDE)
PLAIN = Preprocessing((0.0,) * 3, (1.0,) * 3, 1.0, "rgb", "nchw")
BOX = (np.array([20.0, 30.0, 80.0, 120.0]), 7)
MADE = scene([BOX], seed=1)
# An image whose input is its source.
IMAGE = Image("1", {"image_id": 1, "crop_x": 0, "crop_y": 0, "scale_x": 1.0, "scale_y": 1.0}, 0, 0)


def of_image(outputs: Named) -> Named:
    return {name: output[0] if output.shape[0] == 1 else output for name, output in outputs.items()}


def boxes_of(outputs: Named, given: Given = GIVEN, stated: str | None = None) -> Boxes:
    return find_head(stated, outputs, given).fit.decode(outputs, 0.001)


def refused(outputs: Named, given: Given = GIVEN, stated: str | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        find_head(stated, outputs, given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def detector(outputs: Named, **stated: Any) -> Detector:
    inputs = Inputs(SIDE, SIDE, PLAIN, Input("image", np.dtype(np.float32), 1, SIDE, SIDE))
    values = {"score_threshold": 0.001, **stated}
    return Detector(Preprocessing(PLAIN.mean, PLAIN.std, 1.0, "rgb", "nchw", **values), inputs, outputs)


def read(reader: Detector, outputs: Named, count: int = 1) -> list[dict[str, Any]]:
    return [json.loads(line) for line in reader.read(outputs, [IMAGE] * count, [NONE])[0]]


@pytest.mark.parametrize("name", EXPORTED)
def test_the_order_of_outputs_does_not_matter(name: str) -> None:
    outputs = of_image(EXPORTED[name].encode(MADE))
    found = find_head(None, outputs, GIVEN)
    reverse = find_head(None, dict(reversed(outputs.items())), GIVEN)
    assert found.name == reverse.name == EXPORTED[name].head
    for one, other in zip(found.fit.decode(outputs, 0), reverse.fit.decode(outputs, 0), strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_head_refuses_the_outputs_of_some_others() -> None:
    assert {exported.head for exported in EXPORTED.values()} == HEADS.keys() - {"yolox", "nanodet"}
    for head in HEADS:
        fits = [name for name, one in EXPORTED.items() if HEADS[head].fit(of_image(one.encode(MADE)), GIVEN)]
        assert len(fits) < len(EXPORTED) / 2, (head, fits)


# Ambiguous outputs


def test_outputs_that_fit_two_heads_are_refused_and_decided_by_labels_or_the_head() -> None:
    outputs: Named = {"output0": np.ascontiguousarray(of_image(yolov8(MADE))["output0"].T)}
    message = refused(outputs)
    assert "output0 float32 756x84" in message
    assert "could be yolov5 with 79 classes or yolov8 with 80 classes: state which, such as head = " in message
    shares: Named = {"output0": outputs["output0"] / np.array([SIDE] * 4 + [1] * 80, np.float32)}
    readings = "rt_detr with 80 classes or yolov5 with 79 classes or yolov8 with 80 classes or yolox with 79 classes"
    assert f"could be {readings}: state which" in refused(shares)
    one, other = (boxes_of(shares, stated=head).corners for head in ("yolov8", "rt_detr"))
    np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-5)
    upright = boxes_of({"output0": outputs["output0"].T})
    by_labels = Given(SIDE, SIDE, labels=range(80))
    for boxes in (boxes_of(outputs, stated="yolov8"), boxes_of(outputs, by_labels)):
        np.testing.assert_array_equal(boxes.corners, upright.corners)
    assert find_head(None, outputs, Given(SIDE, SIDE, labels=range(79))).name == "yolov5"


@pytest.mark.parametrize(
    ("columns", "labels", "head"),
    [(80, None, "rt_detr"), (81, None, "detr"), (91, None, "rt_detr"), (92, None, "detr")],
)
def test_detr_and_rt_detr_are_distinguished_by_the_number_of_classes(
    columns: int, labels: Sequence[int] | None, head: str
) -> None:
    logits = single(np.random.default_rng(0).normal(0, 3, (20, columns)))
    outputs: Named = {"boxes": single(np.full((20, 4), 0.5)), "logits": logits}
    found = find_head(None, outputs, GIVEN)
    assert found.name == head
    ids = found.categories.of(np.arange(found.fit.classes.total or 0))
    assert ids[-1] == 90
    assert ids[0] == (1 if columns in (80, 81) else -1)


def test_custom_classes_need_labels_which_also_decide_the_head() -> None:
    outputs: Named = {"boxes": single(np.full((9, 4), 0.5)), "logits": single(np.linspace(-3, 3, 45).reshape(9, 5))}
    assert "could be detr with 4 classes or rt_detr with 5 classes" in refused(outputs)
    assert find_head(None, outputs, Given(SIDE, SIDE, labels=(1, 2, 3, 4))).name == "detr"
    assert find_head(None, outputs, Given(SIDE, SIDE, labels=(1, 2, 3, 4, 5))).name == "rt_detr"
    message = refused(outputs, stated="rt_detr")
    assert (
        "the model (rt_detr) has 5 classes, but COCO has 80: give labels, a file with the COCO category id" in message
    )
    assert "labels has 3 lines, but the model (detr) has 4 classes" in refused(
        outputs, Given(SIDE, SIDE, labels=(1, 2, 3)), "detr"
    )


# Outputs that fit no head


def test_outputs_that_fit_no_head_are_named_with_those_that_would() -> None:
    raw: Named = {f"stride{i}": np.zeros((3, 192 // i, 192 // i, 85), np.float32) for i in (8, 16)}
    raw["whole"] = np.zeros(7, np.int64)
    message = refused(raw)
    assert "one image of 192x192 (stride8 float32 3x24x24x85, stride16 float32 3x12x12x85, whole int64 7)" in message
    for name, head in HEADS.items():
        assert f"{name}: {head.wants}" in message
    assert "export.py --grid" in refused(raw, stated="yolov5")
    assert "fit no known head" in refused({"probabilities": np.full((1, 1000), 1e-3, np.float32)})
    made = of_image(yolov8(MADE))
    assert "do not fit the head yolov5" in refused(made, stated="yolov5")
    assert "they could be yolov8" in refused(made, stated="yolov5")


def test_masks_after_classes_are_not_read_as_classes() -> None:
    rows = np.vstack([of_image(yolov8(MADE))["output0"], np.random.default_rng(2).normal(0, 1, (32, 756))])
    assert "fit no known head" in refused({"output0": single(rows)})


# Boxes, scores and labels


def test_labels_are_recognised_by_their_dtype_or_their_name() -> None:
    made = chosen(MADE)
    boxes, ids, scores = (made[name] for name in ("2716", "2718", "2717"))
    expected = boxes_of(made)
    floats: Named = {"labels": ids.astype(np.float32), "dets": boxes, "scores": scores}
    masks: Named = {**made, "masks": np.zeros((len(ids), 1, 28, 28), np.float32)}
    for outputs in (floats, masks, {**made, "2718": ids.astype(np.int32)}):
        for one, other in zip(boxes_of(outputs), expected, strict=True):
            np.testing.assert_array_equal(one, other)
    assert "fit no known head" in refused({"a": ids.astype(np.float32), "b": boxes, "c": scores})


def test_outputs_of_other_names_are_ssd_s_if_that_is_stated() -> None:
    made = chosen(MADE)
    expected = boxes_of(made)
    shares: Named = {**made, "2716": single(MADE.corners[:, [1, 0, 3, 2]] / SIDE)}
    np.testing.assert_allclose(boxes_of(shares, stated="ssd").corners, expected.corners, rtol=1e-6)
    pixels: Named = {**made, "2716": single(MADE.corners[:, [1, 0, 3, 2]])}
    stated = Given(SIDE, SIDE, boxes="pixels")
    np.testing.assert_array_equal(boxes_of(pixels, stated, "ssd").corners, expected.corners)


def test_the_first_image_s_boxes_decide_between_pixels_and_shares() -> None:
    made = chosen(MADE)
    shares: Named = {**made, "2716": single(MADE.corners / SIDE)}
    found = find_head(None, shares, GIVEN)
    assert found.fit.note == "the model's boxes are read as shares of the input"
    np.testing.assert_allclose(found.fit.decode(shares, 0.001).corners, boxes_of(made).corners, rtol=1e-6)
    none: Named = {name: output[:0] for name, output in made.items()}
    message = refused(none)
    assert 'torchvision: no box of the first image shows if boxes are in pixels or shares: give boxes = "pix' in message
    assert "give boxes" in refused({"output0": np.zeros((300, 6), np.float32)})
    for unit, expected in (("pixels", made), ("shares", shares)):
        settled = find_head(None, none, Given(SIDE, SIDE, boxes=unit))
        np.testing.assert_allclose(settled.fit.decode(expected, 0.001).corners, boxes_of(made).corners, rtol=1e-6)


def test_an_invalid_class_is_refused_unless_labels_map_it() -> None:
    made = chosen(MADE)
    from_0: Named = {**made, "2718": np.arange(len(MADE.corners)) % 3}
    with pytest.raises(UsageError, match=r"gives the class 0, outside 1 to 90: give labels, a file"):
        read(detector(from_0), from_0)
    stated = detector(from_0, labels=(90, -1, 7))
    found = read(stated, from_0)
    assert {result["category_id"] for result in found} == {90, 7}
    assert len(found) == np.count_nonzero(from_0["2718"] != 1)
    from_1: Named = {**made, "2718": from_0["2718"] + 78}
    assert {result["category_id"] for result in read(detector(from_1, class_offset=1), from_1)} == {88, 89, 90}


def test_background_boxes_are_dropped_before_the_best_are_chosen() -> None:
    """The background has the best 100 of 150 boxes."""
    boxes = np.stack([np.arange(150) * 1.0, np.zeros(150), np.arange(150) + 0.9, np.full(150, 9.0)], axis=1)
    scores = np.zeros((150, 81))
    scores[:100, 0], scores[100:, 1] = 0.9, 0.5
    outputs: Named = {"output0": single(np.hstack([centred(boxes), scores]).T[None])}
    assert "has 81 classes, but COCO has 80: give class_offset = 1 if the first is the background" in refused(
        of_image(outputs), stated="yolov8"
    )
    found = read(detector(outputs, head="yolov8", class_offset=1), outputs)
    assert len(found) == 50
    assert {result["category_id"] for result in found} == {1}


def test_categories_are_coco_s(data: Path) -> None:
    known = json.loads((data / "coco" / "annotations" / "instances_val2017.json").read_text())["categories"]
    assert list(CATEGORIES) == [category["id"] for category in known]


# Batches, and outputs that change


def test_a_batch_is_split_into_images_or_refused() -> None:
    name = "ssd"
    outputs = EXPORTED[name].encode(MADE)
    reader = detector(outputs)
    two = {key: np.concatenate([output, output]) for key, output in outputs.items()}
    assert read(reader, two, count=2) == 2 * read(reader, outputs)
    alone = chosen(MADE)
    with pytest.raises(UsageError, match="no axis for 2 images: give batch = 1"):
        read(detector(alone), alone, count=2)


def test_masks_of_one_box_are_not_a_batch() -> None:
    made = chosen(MADE)
    reader = detector(made)
    one: Named = {name: output[:1] for name, output in made.items()}
    assert read(reader, {**one, "masks": np.zeros((1, 1, 28, 28), np.float32)}) == read(reader, one)


def test_nan_in_the_first_image_is_refused() -> None:
    outputs = yolov8(MADE)
    outputs["output0"][0, 0, 0] = np.nan
    with pytest.raises(UsageError, match="gives NaN or infinity for the first image"):
        detector(outputs)


def rows(*values: Sequence[float]) -> Named:
    return {"output": np.array(values, np.float32)}


def test_yolov7_s_rows_of_other_images_and_in_other_orders_are_refused() -> None:
    good = rows((0, 10, 10, 50, 60, 6, 0.9))
    reader = detector(good)
    assert read(reader, good) == [{"image_id": 1, "category_id": 7, "bbox": [10, 10, 40, 50], "score": 0.9}]
    with pytest.raises(UsageError, match="boxes of several images into one output: give batch = 1"):
        read(reader, rows((0, 10, 10, 50, 60, 6, 0.9), (1, 10, 10, 50, 60, 6, 0.9)))
    with pytest.raises(UsageError, match=r"classes \(column 6 of output\) are not whole numbers"):
        read(reader, rows((0, 10, 10, 50, 60, 6.5, 0.9)))
    assert "fit no known head" in refused(rows((0, 10, 10, 50, 60, 0.9, 6)))  # with the score before the class


@pytest.mark.parametrize("name", EXPORTED)
def test_outputs_of_another_shape_than_the_first_image_s_are_refused(name: str) -> None:
    """Noise may change a model's outputs in this way."""
    outputs = of_image(EXPORTED[name].encode(MADE))
    fit = find_head(None, outputs, GIVEN).fit
    rows = name in ("yolov8", "yolov8 in shares", "fastestdet")
    less: Named = {
        key: output[:-1] if rows else output[..., :-1] if output.ndim else output for key, output in outputs.items()
    }
    with pytest.raises(UsageError, match=f"do not fit the head {EXPORTED[name].head}"):
        fit.decode(less, 0.001)


# Box noise and thresholds


def test_suppression_noise_applies_only_to_heads_that_are_suppressed_here() -> None:
    everywhere = noise(1, everywhere=True)
    for name in EXPORTED:
        outputs = EXPORTED[name].encode(MADE)
        reader = detector(outputs)
        suppressed = HEADS[EXPORTED[name].head].nms_iou is not None
        assert (reader.refusal(everywhere) is None) == suppressed
        assert reader.refusal(noise(1)) is None
        assert reader.refusal(NONE) is None


def test_a_suppression_threshold_without_suppression_is_refused() -> None:
    stated = Preprocessing(PLAIN.mean, PLAIN.std, 1.0, "rgb", "nchw", head="detr", nms_iou=0.5)
    with pytest.raises(UsageError, match="but boxes of the head detr are not suppressed here: leave it out"):
        check("coco", stated)
