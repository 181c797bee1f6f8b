"""The examples of mix training: loaders give the methods' own pixels, and the small Table 7 is complete."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from generators.mix import Mix
from generators.pixels.pillow import header
from generators.registry import METHODS
from tests import ROOT

# RandomResizedCrop is patched to return a box that depends only on the image.
LOADERS = """
import hashlib, inspect, json, sys
import torch
try:
    import torchvision
except RuntimeError:  # built for CUDA beside a PyTorch for the CPU: declare the two operators whose absence it dislikes
    from torch import library
    for name in ("nms", "qnms"):
        library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from torchvision.transforms import RandomResizedCrop, functional
from generators.mix import Box
from examples.mix_loaders import LOADERS

assert tuple(inspect.signature(functional.crop).parameters)[1:] == Box._fields
drawn = RandomResizedCrop.get_params(torch.zeros(3, 20, 2000), [0.9, 1.0], [50.0, 60.0])
assert max(drawn[0] + drawn[2], 0) <= 20 and drawn[1] + drawn[3] <= 2000
RandomResizedCrop.get_params = staticmethod(
    lambda image, scale, ratio: (image.height // 4, image.width // 5, image.height // 2, image.width // 3)
)
sha256 = lambda image: hashlib.sha256(image.permute(1, 2, 0).contiguous().numpy().tobytes()).hexdigest()
found = {
    name: [
        sorted((label, sha256(image)) for images, labels in LOADERS[name](path, epoch)
               for image, label in zip(images, labels.tolist()))
        for epoch in (0, 1)
    ]
    for name, path in json.load(sys.stdin).items()
}
print(json.dumps(found))
"""


@pytest.fixture(scope="module", autouse=True)
def torch() -> None:
    missing = [name for name in ("torch", "torchvision") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: pip install -r requirements-timm.txt")


def run(*words: str, given: str = "") -> str:
    """Run Python; its stdout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, *words]
    done = subprocess.run(command, env=environment, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def by_hand(mix: Mix, data: bytes, key: str, epoch: int) -> str:
    """The sha256 of the pixels of the box, made by calling the drawn methods."""
    drawn = mix.draw(key, epoch)
    size = header(data)
    assert size
    top, left, height, width = size.height // 4, size.width // 5, size.height // 2, size.width // 3
    part = METHODS[drawn.decode].load()(data)[top : top + height, left : left + width].copy()
    return hashlib.sha256(METHODS[drawn.resize].load()(part, 224, 224).tobytes()).hexdigest()


def test_loaders_give_the_methods_own_pixels(
    photographs: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    tree = tmp_path / "tree"
    for number, (key, data) in enumerate(photographs.items()):
        (tree / f"class-{number % 2}").mkdir(parents=True, exist_ok=True)
        (tree / f"class-{number % 2}" / f"{key}.jpg").write_bytes(data)
        with tarfile.open(tmp_path / f"{number % 2}.tar", "a") as tar:
            for name, member in ((f"{key}.jpg", data), (f"{key}.cls", str(number % 2).encode())):
                about = tarfile.TarInfo(name)
                about.size = len(member)
                tar.addfile(about, io.BytesIO(member))
    paths = {"pytorch": str(tree), "datasets": str(tree), "webdataset": f"{tmp_path}/{{0..1}}.tar"}
    found = json.loads(run("-c", LOADERS, given=json.dumps(paths)))
    mix = Mix(
        ("pil", "opencv", "ffmpeg"),
        [f"{library}_{name}" for library in ("pil", "opencv") for name in ("nearest", "bilinear", "bicubic")],
    )
    for loader in paths:
        for epoch in (0, 1):
            folder = "" if loader == "webdataset" else "class-{}/"
            keys = ((number % 2, folder.format(number % 2) + key) for number, key in enumerate(photographs))
            made = [[n, by_hand(mix, photographs[key.rpartition("/")[2]], key, epoch)] for n, key in keys]
            assert found[loader][epoch] == sorted(made), loader
        assert found[loader][0] != found[loader][1]


def test_a_mistake_gives_a_one_line_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = importlib.import_module("examples.mix_training").main
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "notes.txt").write_text("no image")
    assert main(["--quick", "--source", str(tmp_path), "--output", str(tmp_path / "found.json")]) == 2
    assert "notes.txt is not an image" in capsys.readouterr().err
    assert main(["--quick", "--output", str(tmp_path)]) == 2
    assert "is a folder: name a file" in capsys.readouterr().err
    assert (tmp_path / "class" / "notes.txt").exists()


def test_the_small_table_is_complete_and_above_chance(tmp_path: Path) -> None:
    printed = run("-W", "error", "-m", "examples.mix_training", "--quick", "--output", str(tmp_path / "found.json"))
    found = json.loads((tmp_path / "found.json").read_text())
    chance = 100 / found["photographs"]
    for stage, number in (("resize", 6), ("decode", 2)):
        *alone, mix = found[stage]
        assert (len(alone), mix) == (number, "mix")
        for name, row in found[stage].items():
            assert list(row["top1"]) == alone
            scores = [score for (score,) in row["top1"].values()]
            assert row["mean"] == pytest.approx(statistics.mean(scores))
            assert row["std"] == pytest.approx(statistics.pstdev(scores))
            assert re.search(rf"^{name} .*\s{row['mean']:.1f}\s+{row['std']:.2f}$", printed, re.MULTILINE)
        assert statistics.mean(row["mean"] for row in found[stage].values()) > 1.5 * chance
    assert any(row["std"] > 0 for row in found["resize"].values())
    assert len({tuple(row["top1"]["pil_nearest"]) for row in found["resize"].values()}) > 2
