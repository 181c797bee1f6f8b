"""Fixtures that the tests of scoring share: small shards, made once."""

from __future__ import annotations

import csv
import gc
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.shards import Shards, open_shards
from tests.conftest import Command, Once

COMBINED = "ffmpeg+pil_nearest+nv12_ascend"
VARIANTS = (
    f"reference,opencv,ffmpeg,pil_nearest,opencv_area,nv12_ascend,ffmpeg+pil_nearest,pil_nearest+nv12_ascend,{COMBINED}"
)
COUNT = 48

LabelMap = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def no_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let statsmodels' `multipletests` collect no garbage: it does at each call, for 0.2 s in a large process."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


@pytest.fixture(scope="session")
def noised(once: Once, photographs: dict[str, bytes], generate: Command) -> Path:
    """Shards of 48 cut-outs of photographs, labels 0 to 9: `VARIANTS`, cropped to 64 of 71 pixels, two shards each."""
    return once("noised", lambda folder: _make_noised(folder, photographs, generate)) / "out" / "imagenet"


def _make_noised(folder: Path, photographs: dict[str, bytes], generate: Command) -> None:
    source = folder / "source"
    source.mkdir()
    pictures = [Image.open(io.BytesIO(data)).convert("RGB").resize((400, 300)) for data in photographs.values()]
    labels = []
    for index in range(COUNT):
        left, top = 20 * (index % 7), 11 * (index % 9)
        name = f"picture_{index:03d}"
        pictures[index % len(pictures)].crop((left, top, left + 160, top + 120)).save(source / f"{name}.JPEG")
        labels.append(f"{name}.JPEG {index % 10}")
    (folder / "labels.txt").write_text("\n".join(labels))
    words = ["--variant", VARIANTS, "--dataset", "imagenet", "--source", source, "--labels", folder / "labels.txt"]
    generate(*words, "--size", 64, "--crop-pct", 0.9, "--samples-per-shard", 40, "--output", folder / "out")


@pytest.fixture(scope="session")
def shards(noised: Path) -> Shards:
    return open_shards(noised)


@pytest.fixture(scope="session")
def truth(shards: Shards) -> dict[str, int]:
    """Labels by key."""
    keys, labels = shards.samples()
    return dict(zip(keys, labels.tolist(), strict=True))


def write_predictions(folder: Path, predicted: Mapping[str, Mapping[str, int]]) -> Path:
    """A CSV of `key` and `pred` for each variant."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, classes in predicted.items():
        with open(folder / f"{name}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([("key", "pred"), *classes.items()])
    return folder


def wrong_in(truth: Mapping[str, int], places: Sequence[int]) -> dict[str, int]:
    """The labels, with 999 at these places."""
    return {key: 999 if index in places else label for index, (key, label) in enumerate(truth.items())}


CATEGORIES = (90, 7, 1)  # any ids will do


@pytest.fixture(scope="session")
def coco(once: Once, generate: Command) -> tuple[Path, Path]:
    """COCO shards of 14 images of noise, letterboxed (1.5 times as large, 22 pixels down), and the annotations."""
    folder = once("coco", lambda folder: _make_coco(folder, generate))
    return folder / "out" / "coco", folder / "instances.json"


def _make_coco(folder: Path, generate: Command) -> None:
    source = folder / "val2017"
    source.mkdir()
    random = np.random.default_rng(5)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(1, 15):
        name = f"{number:012d}.jpg"
        Image.effect_noise((120, 90), 50).convert("RGB").save(source / name)
        images.append({"id": number, "file_name": name, "width": 120, "height": 90})
        for _ in range(int(random.integers(0, 6))):
            x, y, w, h = (float(v) for v in random.uniform((0, 0, 10, 10), (80, 50, 40, 40)))
            annotations.append(
                {
                    **{"id": len(annotations) + 1, "image_id": number, "bbox": [x, y, w, h], "area": w * h},
                    **{"category_id": int(random.choice(CATEGORIES)), "iscrowd": int(random.random() < 0.1)},
                    "segmentation": [[x, y + h, x + w / 2, y, x + w, y + h]],
                }
            )
    categories = [{"id": number, "name": f"thing {number}"} for number in CATEGORIES]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    words = ["--variant", "reference,ffmpeg,pil_nearest", "--dataset", "coco", "--source", source]
    generate(*words, "--annotations", path, "--geometry", "letterbox", "--size", 180, "--output", folder / "out")


@pytest.fixture(scope="session")
def towns(once: Once, generate: Command) -> Shards:
    """Six images with stripes of classes, some of them ignored."""
    return open_shards(once("cityscapes", lambda folder: _make_towns(folder, generate)) / "out" / "cityscapes")


def _make_towns(folder: Path, generate: Command) -> None:
    random = np.random.default_rng(9)
    for index in range(6):
        image = folder / "leftImg8bit" / "val" / "ulm" / f"ulm_{index:06d}_000019_leftImg8bit.png"
        labels = folder / "gtFine" / "val" / "ulm" / f"ulm_{index:06d}_000019_gtFine_labelIds.png"
        for path in (image, labels):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((96, 48), 40).convert("RGB").save(image)
        # 7, 11, 26 and 33 are road, building, car and bicycle; 0 is ignored.
        Image.fromarray(random.choice(np.array([7, 11, 26, 33, 0], np.uint8), (6, 12)).repeat(8, 0).repeat(8, 1)).save(
            labels
        )
    words = ["--variant", "reference,nv12_opencv", "--dataset", "cityscapes", "--source", folder]
    generate(*words, "--output", folder / "out")


@pytest.fixture(scope="session")
def truths(towns: Shards) -> dict[str, LabelMap]:
    return {stored.key: np.asarray(Image.open(io.BytesIO(stored.members["seg.png"]))) for stored in towns.stored("pil")}
