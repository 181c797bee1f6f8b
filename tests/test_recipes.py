"""The loops of docs/loops.md, run as they are shown with a model that knows every image by its pixels.

Such a model finds out a recipe that changes a pixel, mixes up labels, or maps boxes back wrongly.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.conftest import Command, Once
from tests.documents import block, blocks, made

PAGE = "docs/loops.md"

# Five images for the five tars of the recipe, and one that is in the annotations alone.
SIZES = [(160, 80), (80, 160), (120, 90), (64, 64), (200, 50), (90, 120)]
BOXES = [[10.0, 20.0, 20.0, 30.0], [3.5, 7.25, 40.5, 12.0]]

DETECTOR = """
import hashlib
seen = {seen}
def detect(pixels):
    return seen[hashlib.sha256(pixels.tobytes()).hexdigest()]
"""


def recipe(line: str) -> str:
    """The page's one Python block that holds `line`."""
    return block(PAGE, line)


def run(program: str, folder: Path, mine: str) -> str:
    """What a recipe prints when it is run in `folder` with `mine.py` beside it."""
    (folder / "mine.py").write_text(mine)
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_recipes_are_short() -> None:
    assert all(len(code.splitlines()) <= 15 for code in blocks(PAGE, "python"))


@pytest.mark.parametrize("line", ["wds", "load_dataset"])
def test_recipes_read_every_image(line: str, once: Once, generate: Command, tmp_path: Path) -> None:
    folder = made(once, generate)
    (code,) = [code for code in blocks(PAGE, "python")[:2] if line in code]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 9
    assert all("224" in line for line in lines)
    assert " 281 451" in lines[3]  # the cat


@pytest.fixture(scope="module")
def detection(tmp_path_factory: pytest.TempPathFactory, generate: Command) -> Path:
    """A folder with `out/coco/pil_lanczos`, letterboxed, and its annotations as `instances.json`."""
    folder = tmp_path_factory.mktemp("detection")
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    (folder / "val2017").mkdir()
    for number, (width, height) in enumerate(SIZES, 1):
        name = f"{number:012d}.jpg"
        Image.effect_noise((width, height), 60).convert("RGB").save(folder / "val2017" / name)
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for x, y, w, h in BOXES:
            annotation = {"id": len(annotations) + 1, "image_id": number, "category_id": 90 - number}
            annotations.append(annotation | {"bbox": [x, y, w, h], "area": w * h, "iscrowd": 0})
    categories = [{"id": 90 - number, "name": str(number)} for number in range(1, len(SIZES) + 1)]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(truth))
    words = ["--variant", "pil_lanczos", "--dataset", "coco", "--source", "val2017", "--annotations", "instances.json"]
    words += ["--geometry", "letterbox", "--size", "96", "--samples-per-shard", "1", "--limit", "5"]
    generate(*words, cwd=folder)
    return folder


def test_the_pycocotools_recipe_scores_a_perfect_detector(detection: Path) -> None:
    rows = pq.read_table(detection / "out" / "coco" / "pil_lanczos" / "manifest.parquet").to_pylist()
    assert {row["crop_x"] < 0 for row in rows} == {row["crop_y"] < 0 for row in rows} == {True, False}
    seen = {}
    for row in rows:
        sx, sy, left, top = row["scale_x"], row["scale_y"], row["crop_x"], row["crop_y"]
        boxes = [(x * sx - left, y * sy - top, w * sx, h * sy) for x, y, w, h in BOXES]
        seen[row["pixel_sha256"]] = [(*box, 0.9, 90 - int(row["key"])) for box in boxes]
    mine = DETECTOR.format(seen=seen)
    program = recipe("cocoeval").replace("/data/coco/instances_val2017.json", "instances.json")
    printed = run(program, detection, mine)
    (line,) = [line for line in printed.splitlines() if "(AP) @[ IoU=0.50:0.95 | area=   all" in line]
    assert line.endswith("= 1.000")
