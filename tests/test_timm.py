"""Loops over classification shards: those of docs/loops.md with NumPy and PyTorch, and timm's own reader and loader.

The tests with PyTorch are skipped if it or timm is not installed; requirements-timm.txt has both.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from generators.geometry import frame
from generators.registry import METHODS
from pipelines.generate.target import choose_geometry
from pipelines.options import Target
from tests.conftest import Command
from tests.test_recipes import recipe, run

# Scores that are right for every image but the cat: 8 of 9.
MODEL = """
import hashlib
import numpy as np
labels = {labels}
def model(pixels):
    scores = np.zeros(1000)
    scores[labels[hashlib.sha256(pixels.tobytes()).hexdigest()]] = 1
    return scores
"""

MODULE = """
import torch
from pixels import model as by_pixels
class Known(torch.nn.Module):
    def forward(self, images):
        pixels = (images.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
        return torch.stack([torch.from_numpy(by_pixels(image)) for image in pixels])
model = Known().eval()
"""

# How timm's validate.py reads a dataset, and timm's reader by itself.
TIMM = """
import hashlib, json, sys
import torch
try:
    import torchvision
except RuntimeError:  # built for CUDA beside a PyTorch for the CPU: declare the two operators whose absence it dislikes
    from torch import library
    for name in ("nms", "qnms"):
        library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import numpy as np
from timm.data import create_dataset, create_loader
from timm.data.readers import create_reader

if __name__ == "__main__":
    root = sys.argv[1]
    sha256 = lambda pixels: hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
    read = [(sha256(np.asarray(image)), label) for image, label in create_reader("wds/", root, split="validation")]
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    samples, loaded = {}, {}
    for workers in (0, 2):
        dataset = create_dataset(name="wds/", root=root, split="validation", input_img_mode="RGB")
        samples[workers] = len(dataset)
        loader = create_loader(
            dataset, (3, 224, 224), batch_size=4, crop_pct=1.0, mean=mean, std=std, num_workers=workers,
            device=torch.device("cpu"),
        )
        of_workers = loaded[workers] = []
        for images, labels in loader:
            pixels = (images.permute(0, 2, 3, 1) * torch.tensor(std) + torch.tensor(mean)) * 255
            of_workers += zip(map(sha256, pixels.round().to(torch.uint8).numpy()), labels.tolist())
    print(json.dumps({"samples": samples, "read": read, "loaded": loaded}))
"""


# Sizes and crop shares of timm's models.
CROPPED = [(224, 0.875), (224, 0.9), (224, 0.95), (240, 0.9), (299, 0.875), (224, 0.965), (288, 1.0)]
# The crops of a picture in timm's evaluation: the sha256 of the pixels of each.
CROPS = """
import hashlib, json, sys
import torch
try:
    import torchvision
except RuntimeError:  # as above
    from torch import library
    for name in ("nms", "qnms"):
        library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import numpy as np
from PIL import Image
from timm.data.transforms_factory import transforms_imagenet_eval

picture = Image.open(sys.argv[1])
for size, share, mode in json.loads(sys.argv[2]):
    steps = transforms_imagenet_eval(size, crop_pct=share, crop_mode=mode, interpolation="bilinear").transforms[:2]
    found = picture
    for step in steps:
        found = step(found)
    print(hashlib.sha256(np.ascontiguousarray(np.asarray(found)).tobytes()).hexdigest())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, generate: Command) -> Path:
    """A folder with `out/sample/pil_lanczos` in one tar, as after `make sample`."""
    found = tmp_path_factory.mktemp("loops")
    generate("--variant", "pil_lanczos", cwd=found)
    return found


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / "out/sample/pil_lanczos/manifest.parquet").to_pylist()
    return found


@pytest.fixture(scope="module")
def torch() -> None:
    missing = [name for name in ("torch", "torchvision", "timm") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: pip install -r requirements-timm.txt")


def model(rows: list[dict[str, Any]]) -> str:
    labels = {row["pixel_sha256"]: row["label"] for row in rows}
    (cat,) = [row["pixel_sha256"] for row in rows if row["key"] == "chelsea"]
    return MODEL.format(labels=labels | {cat: 0})


def test_the_numpy_recipe(folder: Path, rows: list[dict[str, Any]]) -> None:
    assert run(recipe("np.argmax"), folder, model(rows)) == "top-1 88.89% of 9 images\n"


@pytest.mark.usefixtures("torch")
def test_the_pytorch_recipe(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "pixels.py").write_text(model(rows))
    assert run(recipe("import torch"), folder, MODULE) == "top-1 88.89% of 9 images\n"


@pytest.mark.usefixtures("torch")
def test_timm_reads_every_sample(folder: Path, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """Without worker processes, and with two."""
    (tmp_path / "read.py").write_text(TIMM)
    words = [sys.executable, str(tmp_path / "read.py"), str(folder / "out" / "sample" / "pil_lanczos")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    expected = [[row["pixel_sha256"], row["label"]] for row in rows]
    assert found["samples"] == dict.fromkeys(("0", "2"), len(expected))
    assert found["read"] == expected
    assert {workers: sorted(loaded) for workers, loaded in found["loaded"].items()} == dict.fromkeys(
        ("0", "2"), sorted(expected)
    )


@pytest.mark.usefixtures("torch")
def test_crops_are_timm_s(tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (301, 423, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    asked = [(size, share, mode) for size, share in CROPPED for mode in ("center", "squash")]
    words = [sys.executable, "-c", CROPS, str(tmp_path / "picture.png"), json.dumps(asked)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = []
    for size, share, mode in asked:
        name = {"center": "crop", "squash": "squash"}[mode]
        geometry, sides = choose_geometry("imagenet", Target(name, (size,), crop_pct=share))
        found = frame(geometry, 423, 301, sides)
        assert found.resize is not None
        cut = found.cut(METHODS["pil_bilinear"].load()(pixels, *found.resize))
        expected.append(hashlib.sha256(cut.tobytes()).hexdigest())
    assert done.stdout.split() == expected
