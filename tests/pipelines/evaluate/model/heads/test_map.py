"""Each head's mAP equals that of an independent decoder, for made-up outputs and those of real models."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
from PIL import Image as Picture
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from generators.boxes import NONE
from pipelines.evaluate.model.heads import HEADS
from pipelines.evaluate.model.inputs import Image, Inputs
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.model.readers.boxes import Detector
from pipelines.evaluate.model.runtimes import Input
from pipelines.shards import open_shards
from tests.pipelines.evaluate.model.heads.scenes import (
    EXPORTED,
    SIDE,
    Array,
    Named,
    Read,
    read_fastestdet,
    read_yolov8,
    scene,
)

PLAIN = Preprocessing((0.0,) * 3, (1.0,) * 3, 1 / 255, "rgb", "nchw", pad=114, placement="center")


class Truth(NamedTuple):
    """Images in a model's input, and the annotations of their objects."""

    images: list[Image]
    coco: COCO

    def objects(self, image: Image) -> list[tuple[Array, int]]:
        """Corners in the input, and category ids."""
        scale, offset = frame(image)
        found = []
        for one in self.coco.imgToAnns[image.info["image_id"]]:
            x, y, w, h = one["bbox"]
            found.append((np.array([x, y, x + w, y + h]) * scale + offset, one["category_id"]))
        return found


def annotated(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


@pytest.fixture(scope="module")
def truth(coco: tuple[Path, Path]) -> Truth:
    shards = open_shards(coco[0])
    infos = [shards.info(one) for one in shards.stored(shards.reference.name)]
    middle = (SIDE - 180) // 2
    return Truth([Image(str(info["image_id"]), info, middle, middle) for info in infos], annotated(coco[1]))


def frame(image: Image) -> tuple[Array, Array]:
    """The scale and the offset from source pixels to the input's."""
    info = image.info
    offset = np.array([image.left - info["crop_x"], image.top - info["crop_y"]] * 2, np.float64)
    return np.array([info["scale_x"], info["scale_y"]] * 2), offset


def results_of(image: Image, found: Read) -> list[dict[str, Any]]:
    """The hundred best boxes as COCO results."""
    scale, offset = frame(image)
    results = []
    for box, score, number in sorted(found, key=lambda one: -one[1])[:100]:
        x1, y1, x2, y2 = (box - offset) / scale
        own = {"image_id": image.info["image_id"], "category_id": number, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        results.append({**own, "score": score})
    return results


def mean_ap(truth: Truth, results: list[dict[str, Any]]) -> float:
    with contextlib.redirect_stdout(io.StringIO()):
        scores = COCOeval(truth.coco, truth.coco.loadRes(copy.deepcopy(results)), "bbox")
        scores.params.imgIds = [image.info["image_id"] for image in truth.images]
        scores.evaluate()
        scores.accumulate()
        scores.summarize()
    return float(scores.stats[0])


def detector(stated: Preprocessing, outputs: Named, side: int = SIDE) -> Detector:
    inputs = Inputs(side, side, stated, Input("image", np.dtype(np.float32), 1, side, side))
    return Detector(stated, inputs, outputs)


def detected(reader: Detector, images: Iterable[tuple[Image, Named]]) -> list[dict[str, Any]]:
    return [json.loads(line) for image, outputs in images for line in reader.read(outputs, [image], [NONE])[0]]


def expect_alike(truth: Truth, found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> float:
    """Check that results agree within single precision, and mAP too; returns mAP."""
    assert len(found) == len(wanted)
    for own, other in zip(found, wanted, strict=True):
        assert (own["image_id"], own["category_id"]) == (other["image_id"], other["category_id"])
        assert own["score"] == pytest.approx(other["score"], abs=1e-6)
        assert own["bbox"] == pytest.approx(other["bbox"], abs=2e-3)
    score = mean_ap(truth, found)
    assert score == pytest.approx(mean_ap(truth, wanted), abs=1e-9)
    return score


@pytest.mark.parametrize("name", EXPORTED)
def test_an_unstated_head_is_recognised_and_scores_like_an_independent_decoder(name: str, truth: Truth) -> None:
    head, encode, decode = EXPORTED[name]
    made = [(image, encode(scene(truth.objects(image), seed))) for seed, image in enumerate(truth.images)]
    reader = detector(PLAIN, made[0][1])
    assert reader.note.startswith(f"head {head} (recognised from the outputs): ")
    found = detected(reader, made)
    score = expect_alike(truth, found, [one for image, outputs in made for one in results_of(image, decode(outputs))])
    assert 0.05 < score < 0.95
    usual = HEADS[head]
    stated = replace(PLAIN, head=head, score_threshold=usual.score_threshold, nms_iou=usual.nms_iou)
    assert detected(detector(stated, made[0][1]), made) == found


@pytest.mark.parametrize(
    ("model", "side", "channels", "decode"),
    [("yolov8n_int8", 640, "rgb", read_yolov8), ("fastestdet", 352, "bgr", read_fastestdet)],
)
def test_real_models_score_like_an_independent_decoder_of_their_outputs(
    model: str, side: int, channels: str, decode: Callable[[Named], Read], data: Path
) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(data / "models" / f"{model}.onnx"), options)
    names = [one.name for one in session.get_outputs()]
    coco = annotated(data / "coco" / "annotations" / "instances_val2017.json")
    files = {one["id"]: data / "coco" / "val2017" / one["file_name"] for one in coco.dataset["images"]}
    large = sorted(coco.dataset["annotations"], key=lambda one: -one["area"])
    numbers = list(dict.fromkeys(one["image_id"] for one in large if files[one["image_id"]].is_file()))[:3]
    made: list[tuple[Image, Named]] = []
    for number in numbers:
        source = Picture.open(files[number]).convert("RGB")
        scales = {"scale_x": side / source.width, "scale_y": side / source.height}
        image = Image(str(number), {"image_id": number, "crop_x": 0, "crop_y": 0, **scales}, 0, 0)
        pixels = np.asarray(source.resize((side, side)), np.float32)[..., :: 1 if channels == "rgb" else -1] / 255
        batch = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
        made.append((image, dict(zip(names, session.run(None, {session.get_inputs()[0].name: batch}), strict=True))))
    found = detected(detector(PLAIN, made[0][1], side), made)
    wanted = [one for image, outputs in made for one in results_of(image, decode(outputs))]
    assert 0.02 < expect_alike(Truth([image for image, _ in made], coco), found, wanted) < 0.95
