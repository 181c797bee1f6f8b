"""COCO: sources, geometry of boxes, and scores that are unchanged by the way to a shard and back."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset as wds
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from generators.geometry import frame
from pipelines.errors import SourceError, UsageError
from pipelines.generate.sources import Catalogue, Missing, Source, open_coco
from pipelines.store import Disk
from tests import croissants
from tests.conftest import Command

# Sides that become integers at 2 and 4 times the size, so that scales are exact.
SHAPES = {"000000000001.jpg": (160, 80), "000000000002.jpg": (80, 160), "000000000003.jpg": (160, 80)}
CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 7, "name": "train"}]  # any ids will do


def annotation(number: int, image: int, category: int, box: list[float], *, crowd: int = 0) -> dict[str, Any]:
    x, y, w, h = box
    corners = [x, y, x + w, y, x + w, y + h, x, y + h]
    mask = {"counts": [0, 160 * 80], "size": [80, 160]} if crowd else [corners]
    area = w * h
    return {
        **{"id": number, "image_id": image, "category_id": category, "bbox": box},
        **{"area": area, "iscrowd": crowd, "segmentation": mask},
    }


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "val2017"
    folder.mkdir()
    for name, size in SHAPES.items():
        picture = Image.effect_noise(size, 60)
        (picture if name.endswith("3.jpg") else picture.convert("RGB")).save(folder / name)
    return folder


@pytest.fixture
def truth() -> dict[str, Any]:
    return {
        "images": [
            {"id": number, "file_name": name, "width": width, "height": height}
            for number, (name, (width, height)) in enumerate(SHAPES.items(), 1)
        ],
        "annotations": [
            annotation(1, 1, 90, [10.0, 20.0, 50.0, 30.0]),
            annotation(2, 1, 7, [100.0, 5.0, 1.0, 40.0]),  # a box one pixel wide
            annotation(3, 1, 7, [0.0, 0.0, 160.0, 80.0], crowd=1),
            annotation(4, 2, 90, [3.5, 7.25, 40.0, 90.5]),
        ],  # and none for image 3
        "categories": CATEGORIES,
    }


@pytest.fixture
def instances(tmp_path: Path, truth: dict[str, Any]) -> Path:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(truth))
    return path


def asked(output: Path, source: Path, instances: Path, *more: str) -> list[object]:
    return ["--dataset", "coco", "--source", source, "--annotations", instances, "--output", output, *more]


def opened(images: Path, instances: Path | None) -> Source:
    return open_coco(Disk(str(images)), Disk(str(instances)) if instances else None)


def read(output: Path, variant: str) -> list[tuple[NDArray[np.uint8], dict[str, Any]]]:
    tars = sorted(map(str, (output / "coco" / variant).glob("*.tar")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves its files to the garbage collector
        found = list(wds.WebDataset(tars, shardshuffle=False).decode("rgb8").to_tuple("png", "json"))
        gc.collect()
    return found


def test_folder_and_zip_are_the_same_source(images: Path, instances: Path, tmp_path: Path) -> None:
    archive = tmp_path / "val2017.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(images.iterdir(), reverse=True):
            file.write(path, f"val2017/{path.name}")
    folder, zipped = opened(images, instances), opened(archive, instances)
    first, second = (Catalogue(source.listing().samples) for source in (folder, zipped))
    assert [(s.key, s.extra, s.size) for s in first] == [(s.key, s.extra, s.size) for s in second]
    assert list(folder.read(first)) == list(zipped.read(second))
    assert first[0].extra == (("image_id", 1),)


def test_a_damaged_zip_member_is_a_failed_sample(images: Path, instances: Path, tmp_path: Path) -> None:
    archive = tmp_path / "val2017.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(images.iterdir()):
            file.write(path, path.name)
    data = bytearray(archive.read_bytes())
    data[200] ^= 255
    archive.write_bytes(data)
    source = opened(archive, instances)
    first, *others = source.read(Catalogue(source.listing().samples))
    assert isinstance(first, Missing)
    assert "cannot be read from the zip" in first.reason
    assert all(isinstance(data, bytes) for data in others)


def test_a_zip_that_disappears_is_not_a_samples_fault(images: Path, instances: Path, tmp_path: Path) -> None:
    archive = tmp_path / "val2017.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(images.iterdir()):
            file.write(path, path.name)
    source = opened(archive, instances)
    samples = Catalogue(source.listing().samples)
    archive.unlink()
    with pytest.raises(SourceError, match="can no longer be read"):
        list(source.read(samples))


def refused(images: Path, instances: Path | None) -> str:
    with pytest.raises(UsageError) as caught:
        opened(images, instances).listing()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:100], "cannot be read"),
        (lambda text: "[]", "has no list of `images`"),
        (lambda text: '{"images": []}', "has no list of `images`"),
        (
            lambda text: text.replace('"id": 2,', '"id": "2",', 1),
            'no `id` that is an integer (first: number 2, which has "2"',
        ),
        (
            lambda text: text.replace('"id": 3,', '"id": 2,', 1),
            "two images the id 2: 000000000002.jpg and 000000000003.jpg",
        ),
        (
            lambda text: '{"images": [{"id": 1}]}',
            "1 of 1 entries of `images` with neither a `file_name` nor a `coco_url`",
        ),
        (lambda text: '{"images": [{"id": 1, "file_name": "a.jpg"}]}', "lists none of the 3 images"),
        (
            lambda text: text.replace('"id": 2, "file_name": "000000000002', '"id": 2, "file_name": "000000000001'),
            "two",
        ),
    ],
)
def test_broken_annotations_are_refused(
    damage: Callable[[str], str], message: str, images: Path, instances: Path
) -> None:
    instances.write_text(damage(instances.read_text()))
    assert message in refused(images, instances)


def test_what_is_not_a_source_is_refused(images: Path, instances: Path, tmp_path: Path) -> None:
    assert "needs --annotations" in refused(images, None)
    assert "neither a folder of images nor a zip" in refused(instances, instances)
    (tmp_path / "empty").mkdir()
    assert "no images in" in refused(tmp_path / "empty", instances)


def test_odd_images_and_annotations(
    images: Path, instances: Path, truth: dict[str, Any], tmp_path: Path, generate: Command
) -> None:
    """Missing from the folder, missing from the file, annotated but unknown: each is reported, and nothing lost."""
    (images / "000000000002.jpg").unlink()
    (images / "000000000003.jpg").rename(images / "000000000009.jpg")
    truth["annotations"].append(annotation(5, 77, 7, [1.0, 1.0, 2.0, 2.0]))
    instances.write_text(json.dumps(truth))
    words = asked(tmp_path / "out", images, instances, "--variant", "pil", "--size", "160,320")
    done = generate(*words, status=1)
    assert "has 1 annotation of images that it does not list" in done.stderr
    assert "lists 2 names (000000000002.jpg, …) missing from the source: counted as failed" in done.stderr
    assert "does not list 000000000009.jpg: image id -1" in done.stderr
    rows = pq.read_table(tmp_path / "out" / "coco" / "pil_bilinear" / "manifest.parquet").to_pylist()
    assert {row["key"]: row["status"] for row in rows} == {
        "000000000001": "ok",
        "000000000002": "failed",
        "000000000003": "failed",
        "000000000009": "ok",
    }
    assert [info["image_id"] for _, info in read(tmp_path / "out", "pil_bilinear")] == [1, -1]
    assert croissants.check(tmp_path / "out" / "coco", tmp_path) == {"pil_bilinear": 2, "pil_bilinear/json": 2}


def evaluate(truth: dict[str, Any], detections: list[dict[str, Any]]) -> NDArray[np.float64]:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        scores = COCOeval(coco, coco.loadRes(detections), "bbox")
        scores.evaluate()
        scores.accumulate()
        scores.summarize()
    return np.asarray(scores.stats)


GEOMETRIES = {"keep_ratio": "160,320", "letterbox": "320", "stretch": "640x640"}


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_detections_on_shards_score_as_in_source_pixels(
    geometry: str, images: Path, instances: Path, truth: dict[str, Any], tmp_path: Path, generate: Command
) -> None:
    chosen = ("--geometry", geometry, "--size", GEOMETRIES[geometry])
    generate(*asked(tmp_path / "out", images, instances, "--variant", "pil", *chosen))
    infos = {info["image_id"]: info for _, info in read(tmp_path / "out", "pil_bilinear")}
    assert all(float(info[f"scale_{axis}"]).is_integer() for info in infos.values() for axis in "xy")
    rng = np.random.default_rng(0)
    in_source, on_shards = [], []
    for known in truth["annotations"] * 4:
        noise = rng.integers(-16, 17, 4) / 4.0
        x, y, w, h = np.maximum(np.array(known["bbox"]) + noise, [0.0, 0.0, 0.25, 0.25]).tolist()
        found = {"image_id": known["image_id"], "category_id": known["category_id"], "score": float(rng.random())}
        in_source.append({**found, "bbox": [x, y, w, h]})
        info = infos[known["image_id"]]
        # What a detector would output for the same object in the shard's pixels ...
        left, top = x * info["scale_x"] - info["crop_x"], y * info["scale_y"] - info["crop_y"]
        right, bottom = (x + w) * info["scale_x"] - info["crop_x"], (y + h) * info["scale_y"] - info["crop_y"]
        # ... converted back by the project's own inverse
        target = frame(geometry, info["source_width"], info["source_height"], size_of(geometry))
        x1, y1, x2, y2 = target.to_source(np.array([left, top, right, bottom])).tolist()
        on_shards.append({**found, "bbox": [x1, y1, x2 - x1, y2 - y1]})
    expected = evaluate(truth, in_source)
    assert 0.05 < expected[0] < 0.95
    np.testing.assert_allclose(evaluate(truth, on_shards), expected, atol=1e-9)


def size_of(geometry: str) -> tuple[int, ...]:
    return tuple(map(int, GEOMETRIES[geometry].replace("x", ",").split(",")))


def keep_ratio_boxes(
    boxes: NDArray[np.float64], width: int, height: int
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Boxes as detection frameworks resize them: each side by the ratio of rounded to original size."""
    scale = min(800 / min(width, height), 1333 / max(width, height))
    new_width, new_height = int(round(width * scale)), int(round(height * scale))  # noqa: RUF046 - their words
    ratios = np.array([new_width / width, new_height / height] * 2)
    return boxes * ratios, (new_width, new_height)


def test_real_images_and_their_boxes(data: Path, tmp_path: Path, generate: Command) -> None:
    source, instances = data / "coco" / "val2017", data / "coco" / "annotations" / "instances_val2017.json"
    words = ["--variant", "paper", "--samples-per-shard", "4", "--limit", "8"]
    generate(*asked(tmp_path / "out", source, instances, *words))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(instances))
    samples = read(tmp_path / "out", "pil_bilinear")
    assert len(samples) == 8
    assert len({tuple(info) for _, info in samples}) == 1
    for pixels, info in samples:
        known = coco.loadImgs([info["image_id"]])[0]
        assert (known["width"], known["height"]) == (info["source_width"], info["source_height"])
        boxes = np.array([a["bbox"] for a in coco.loadAnns(coco.getAnnIds([info["image_id"]]))]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        expected, size = keep_ratio_boxes(boxes, known["width"], known["height"])
        assert (pixels.shape[1], pixels.shape[0]) == (info["width"], info["height"]) == size
        scale = np.array([info["scale_x"], info["scale_y"]] * 2)
        crop = np.array([info["crop_x"], info["crop_y"]] * 2)
        np.testing.assert_allclose(boxes * scale - crop, expected, rtol=1e-12)


def test_the_annotations_are_named_in_the_manifest_and_must_be_the_same(
    images: Path, instances: Path, tmp_path: Path, generate: Command, command: Command
) -> None:
    words = ["--variant", "pil", "--size", "160,320"]
    generate(*asked(tmp_path / "out", images, instances, *words))
    summary = json.loads((tmp_path / "out" / "coco" / "pil_bilinear" / "manifest.json").read_text())
    assert summary["config"]["source"]["annotations"] == "instances.json"
    assert summary["geometry"] == {"name": "keep_ratio", "size": [160, 320]}
    assert summary["config"]["samples_per_shard"] == 400
    checked = command("verify.py", tmp_path / "out", "--render", "--source", images, "--annotations", instances)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    instances.write_text(instances.read_text() + " ")
    done = generate(*asked(tmp_path / "out", images, instances, *words), status=2)
    assert "another source, config.source.annotations_sha256" in done.stderr
