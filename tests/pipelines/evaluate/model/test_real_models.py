"""Published models on real images score what is known of them."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.stats import binomtest

from pipelines.evaluate.model.predict import predict
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.shards import Shards, open_shards
from tests.conftest import ROOT

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SQUEEZENET = Preprocessing((104.0, 117.0, 123.0), (1.0, 1.0, 1.0), 1.0, "bgr", "nchw")
MOBILENET = Preprocessing(MEAN, STD, 1 / 255, "rgb", "nchw")
YOLOX = Preprocessing(MEAN, STD, 1 / 255, "rgb", "nchw", head="yolox", pad=114, placement="top_left", size=416)
NANODET = Preprocessing(
    mean=(103.53, 116.28, 123.675),
    std=(57.375, 57.12, 58.395),
    scale=1.0,
    channels="bgr",
    layout="nchw",
    head="nanodet",
    pad=0,
    placement="center",
    score_threshold=0.05,
    nms_iou=0.6,
)


def generate(output: Path, *words: object) -> Shards:
    command = [sys.executable, str(ROOT / "generate.py"), "--variant", "pil", "--output", str(output)]
    subprocess.run([*command, *map(str, words)], check=True, capture_output=True, cwd=output)
    return open_shards(output)


@pytest.mark.parametrize(
    ("model", "stated", "geometry", "known"),
    [
        # Top-1 on the thousand images that these are drawn from.
        ("squeezenet_v1.0.onnx", SQUEEZENET, ["squash", "--size", 227], 0.655),
        ("mobilenetv2_int8.onnx", MOBILENET, ["crop", "--size", 224, "--limit", 150], 0.823),
    ],
)
def test_classifiers(
    data: Path, tmp_path: Path, model: str, stated: Preprocessing, geometry: list[object], known: float
) -> None:
    source = ["--dataset", "imagenet", "--source", data / "imagenet" / "tree", "--geometry", *geometry]
    shards = generate(tmp_path, *source)
    predict(shards, data / "models" / model, stated, tmp_path / "predictions", None)
    table = pq.read_table(tmp_path / "predictions" / "pil_bilinear.parquet")
    samples = shards.samples()
    assert table["key"].to_pylist() == samples.keys
    best = np.array(table["top5"].to_pylist())[:, 0]
    assert binomtest(int((best == samples.labels).sum()), len(best), known).pvalue > 0.01


@pytest.mark.parametrize(
    ("model", "stated", "geometry", "low", "high"),
    [
        # mAP on 165 images, of which these 80 are a part, is 0.333 and 0.272.
        ("yolox_nano.onnx", YOLOX, ["keep_ratio", "--size", "416,416"], 0.30, 0.40),
        ("nanodet_320.onnx", NANODET, ["letterbox", "--size", "320"], 0.26, 0.36),
    ],
)
def test_detectors(
    data: Path, tmp_path: Path, model: str, stated: Preprocessing, geometry: list[object], low: float, high: float
) -> None:
    annotations = data / "coco" / "annotations" / "instances_val2017.json"
    source = ["--dataset", "coco", "--source", data / "coco" / "val2017", "--annotations", annotations]
    shards = generate(tmp_path, *source, "--geometry", *geometry)
    predict(shards, data / "models" / model, stated, tmp_path / "predictions", None)
    results = json.loads((tmp_path / "predictions" / "pil_bilinear.json").read_text())
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        scores = COCOeval(truth, truth.loadRes(results), "bbox")
        scores.evaluate()
        scores.accumulate()
        scores.summarize()
    assert low < scores.stats[0] < high
