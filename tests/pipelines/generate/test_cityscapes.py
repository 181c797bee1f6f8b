"""Cityscapes: label maps stay with their images, resized by nearest neighbour, losslessly."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.generate.sources import Catalogue, Missing, open_cityscapes
from pipelines.store import Disk
from tests import croissants
from tests.conftest import Command
from tests.methods import ON_CPU

# cityscapesscripts: road is label id 7 and train id 0, bicycle 33 and 18; 0 (unlabeled) and 29 (caravan) are ignored.
IDS = {7: 0, 33: 18, 0: 255, 29: 255, 26: 13}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three images from two towns, with label maps of vertical stripes."""
    root = tmp_path / "cityscapes"
    for index, name in enumerate(("bonn/bonn_000000_000019", "bonn/bonn_000001_000019", "ulm/ulm_000000_000019")):
        town = name.partition("/")[0]
        image = root / "leftImg8bit" / "val" / f"{name}_leftImg8bit.png"
        labels = root / "gtFine" / "val" / f"{name}_gtFine_labelIds.png"
        for path in (image, labels):
            path.parent.mkdir(parents=True, exist_ok=True)
        assert town in str(image)
        Image.effect_noise((100, 50), 40 + index).convert("RGB").save(image)
        stripes = np.repeat(np.array(list(IDS), np.uint8), 20)
        Image.fromarray(np.tile(np.roll(stripes, index), (50, 1))).save(labels)
    return root


def samples(output: Path, variant: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((output / "cityscapes" / variant).glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                file = tar.extractfile(member)
                assert file
                found.setdefault(key, {})[extension] = file.read()
    return found


def picture(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_label_maps_have_train_ids_at_the_images_size(root: Path, tmp_path: Path, command: Command) -> None:
    decoders = ",".join(token for token, method in ON_CPU.items() if method.stage == "decode")
    words = ["--variant", f"{decoders},nv12_opencv", "--dataset", "cityscapes", "--source", root]
    done = command("generate.py", *words, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = samples(tmp_path / "out", "pil")
    assert list(found) == [
        f"{n}_leftImg8bit" for n in ("bonn_000000_000019", "bonn_000001_000019", "ulm_000000_000019")
    ]
    first = found["bonn_000000_000019_leftImg8bit"]
    assert list(first) == ["png", "seg.png", "json"]
    source = root / "leftImg8bit" / "val" / "bonn" / "bonn_000000_000019_leftImg8bit.png"
    assert np.array_equal(picture(first["png"]), np.asarray(Image.open(source)))  # identity, losslessly
    classes = picture(first["seg.png"])
    assert np.array_equal(classes, np.tile(np.repeat(np.array(list(IDS.values()), np.uint8), 20), (50, 1)))
    assert json.loads(first["json"])["seg_sha256"] == hashlib.sha256(classes.tobytes()).hexdigest()
    noised = samples(tmp_path / "out", "nv12_opencv")
    assert all(noised[key]["seg.png"] == found[key]["seg.png"] for key in found)
    assert command("verify.py", tmp_path / "out", "--render", "--source", root).returncode == 0


def test_the_nineteen_classes(root: Path) -> None:
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(every).save(root / "gtFine" / "val" / "ulm" / "ulm_000000_000019_gtFine_labelIds.png")
    source = open_cityscapes(Disk(str(root)))
    classes = source.label_map(Catalogue(source.listing().samples)[-1])
    assert not isinstance(classes, Missing)
    # cityscapesscripts/helpers/labels.py, as runs of label ids and their first train id
    expected = np.full(256, 255)
    for first, last, train in ((7, 8, 0), (11, 13, 2), (17, 17, 5), (19, 28, 6), (31, 33, 16)):
        expected[first : last + 1] = np.arange(train, train + last - first + 1)
    assert np.array_equal(classes.ravel(), expected)


def test_train_ids_are_used_if_there_are_no_label_ids(root: Path) -> None:
    """Files made by cityscapesscripts give the same; label ids under their name are noticed."""
    source = open_cityscapes(Disk(str(root)))
    listed = Catalogue(source.listing().samples)
    before = [source.label_map(sample) for sample in listed]
    for path in (root / "gtFine" / "val").rglob("*.png"):
        ids = np.asarray(Image.open(path))
        trained = np.vectorize(IDS.__getitem__, otypes=[np.uint8])(ids)
        Image.fromarray(trained).save(path.with_name(path.name.replace("labelIds", "labelTrainIds")))
        (path.parent / f"._{path.name}").write_bytes(b"litter")
        path.unlink()
    (root / "leftImg8bit" / "val" / "ulm" / "._ulm_000000_000019_leftImg8bit.png").write_bytes(b"litter")
    found = Catalogue(source.listing().samples)
    assert (len(found), found.sha256) == (3, listed.sha256)
    assert all(np.array_equal(source.label_map(s), old) for s, old in zip(found, before, strict=True))
    Image.fromarray(np.full((50, 100), 26, np.uint8)).save(root / found[2].place[1])
    assert source.label_map(found[2]) == Missing("source: the label map holds 26, which is no train id (0 to 18, 255)")


def test_resizing_invents_no_class(root: Path, tmp_path: Path, command: Command) -> None:
    words = ["--variant", "pil_lanczos", "--dataset", "cityscapes", "--source", root, "--size", "64x40"]
    assert command("generate.py", *words, "--output", tmp_path / "out").returncode == 0
    for sample in samples(tmp_path / "out", "pil_lanczos").values():
        classes = picture(sample["seg.png"])
        assert classes.shape == (40, 64) == picture(sample["png"]).shape[:2]
        assert set(np.unique(classes)) == set(IDS.values())
    found = croissants.check(tmp_path / "out" / "cityscapes", tmp_path)
    assert found == {"pil_lanczos": 3, "pil_lanczos/label_map": 3}


def test_padding_is_ignored(root: Path, tmp_path: Path, command: Command) -> None:
    words = ["--variant", "pil", "--dataset", "cityscapes", "--source", root, "--geometry", "letterbox", "--size", "80"]
    assert command("generate.py", *words, "--output", tmp_path / "out").returncode == 0
    for sample in samples(tmp_path / "out", "pil_bilinear").values():
        classes, image = picture(sample["seg.png"]), picture(sample["png"])
        assert (image[:20] == 114).all()
        assert (classes[:20] == 255).all()
        assert not (classes[20:60] == 255).all()


def test_missing_and_unfit_label_maps_fail_their_samples(root: Path, tmp_path: Path, command: Command) -> None:
    folder = root / "gtFine" / "val"
    (folder / "ulm" / "ulm_000000_000019_gtFine_labelIds.png").unlink()
    Image.new("L", (99, 50)).save(folder / "bonn" / "bonn_000001_000019_gtFine_labelIds.png")
    words = ["--variant", "pil", "--dataset", "cityscapes", "--source", root, "--output", tmp_path / "out"]
    done = command("generate.py", *words)
    assert done.returncode == 1
    assert "no label map for leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png: counted as failed" in done.stderr
    rows = pq.read_table(tmp_path / "out" / "cityscapes" / "pil" / "manifest.parquet").to_pylist()
    assert [row["error"] for row in rows] == [
        "",
        "source: the label map is 99x50, the image 100x50",
        "source: no label map",
    ]


def test_a_flipped_class_is_found(root: Path, tmp_path: Path, command: Command) -> None:
    words = ["--variant", "pil", "--dataset", "cityscapes", "--source", root, "--output", tmp_path / "out"]
    assert command("generate.py", *words).returncode == 0
    path = next((tmp_path / "out").rglob("*.tar"))
    with tarfile.open(path) as tar:
        member = tar.getmember("ulm_000000_000019_leftImg8bit.seg.png")
    buffer = io.BytesIO()
    Image.new("L", (100, 50), 3).save(buffer, "PNG")
    data = bytearray(path.read_bytes())
    data[member.offset_data : member.offset_data + len(buffer.getvalue())] = buffer.getvalue()
    path.write_bytes(data)
    checked = command("verify.py", tmp_path / "out")
    assert checked.returncode == 1
    assert "ulm_000000_000019_leftImg8bit.seg.png: " in checked.stdout


def test_another_layout_is_refused(root: Path, tmp_path: Path, command: Command) -> None:
    shutil.rmtree(root / "gtFine")
    words = ["--variant", "pil", "--dataset", "cityscapes", "--source", root, "--output", tmp_path / "out"]
    done = command("generate.py", *words)
    assert done.returncode == 2
    assert "no gtFine/val in" in done.stderr
