"""Published models on real images reach their known scores, in two commands."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.stats import binomtest

from tests.conftest import Command

SQUEEZENET = """
mean = [104, 117, 123]
std = [1, 1, 1]
scale = 1
channels = "bgr"
layout = "nchw"
"""
MOBILENET = """
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
scale = "1/255"
channels = "rgb"
layout = "nchw"
"""
YOLOX = f'{MOBILENET}head = "yolox"\nsize = 416\npad = 114\nplacement = "top_left"\n'
NANODET = """
mean = [103.53, 116.28, 123.675]
std = [57.375, 57.12, 58.395]
scale = 1
channels = "bgr"
layout = "nchw"
head = "nanodet"
pad = 0
placement = "center"
"""

# Of 300 images.
FEWER: list[object] = [] if os.environ.get("SYSNOISE_ALL") else ["--limit", 100]


def score(command: Command, data: Path, folder: Path, model: str, stated: str, *words: object) -> dict[str, Any]:
    """The `results.json` of a model on the shards under `folder`."""
    shutil.copy(data / "models" / f"{model}.onnx", folder / f"{model}.onnx")
    (folder / f"{model}.toml").write_text(stated)
    done = command("score.py", "--shards", "out", "--model", f"{model}.onnx", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((folder / "report" / "results.json").read_text())
    return found


@pytest.mark.parametrize(
    ("model", "stated", "words", "known"),
    [
        # Top-1 on the thousand images from which these are drawn.
        ("squeezenet_v1.0", SQUEEZENET, ["--geometry", "squash", "--size", 227, *FEWER], 0.655),
        pytest.param(
            *("mobilenetv2_int8", MOBILENET, FEWER, 0.823),
            marks=pytest.mark.skipif(
                sys.version_info < (3, 11),
                reason="the last ONNX Runtime for Python 3.10 has no ConvInteger for it",
            ),
        ),
    ],
)
def test_classifiers(
    command: Command, data: Path, tmp_path: Path, model: str, stated: str, words: list[object], known: float
) -> None:
    source = ["--dataset", "imagenet", "--source", data / "imagenet" / "tree"]
    assert command("generate.py", "--variant", "reference,opencv", *source, *words).returncode == 0
    found = score(command, data, tmp_path, model, stated)
    count, share = found["n"], found["variants"]["pil_bilinear"]["top1"] / 100
    assert binomtest(round(share * count), count, known).pvalue > 0.01
    assert found["variants"]["opencv"]["degenerate"]
    assert found["variants"]["opencv"]["p"] == 1


@pytest.mark.parametrize(
    ("model", "stated", "geometry", "low", "high"),
    [
        # mAP is 33.3 and 27.2 on 165 images that include these 80.
        ("yolox_nano", YOLOX, ["keep_ratio", "--size", "416,416"], 30, 40),
        ("nanodet_320", NANODET, ["letterbox", "--size", "320"], 26, 36),
    ],
)
def test_detectors(
    command: Command,
    data: Path,
    tmp_path: Path,
    model: str,
    stated: str,
    geometry: list[object],
    low: float,
    high: float,
) -> None:
    annotations = data / "coco" / "annotations" / "instances_val2017.json"
    source = ["--dataset", "coco", "--source", data / "coco" / "val2017", "--annotations", annotations]
    assert command("generate.py", "--variant", "reference,ffmpeg", *source, "--geometry", *geometry).returncode == 0
    found = score(command, data, tmp_path, model, stated, "--annotations", annotations)
    for name in ("pil_bilinear", "ffmpeg"):
        results = json.loads((tmp_path / "report" / "predictions" / f"{name}.json").read_text())
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO(str(annotations))
            scores = COCOeval(truth, truth.loadRes(results), "bbox")
            scores.evaluate()
            scores.accumulate()
            scores.summarize()
        assert found["variants"][name]["map"] == pytest.approx(100 * scores.stats[0], abs=1e-9)
        assert low < found["variants"][name]["map"] < high
