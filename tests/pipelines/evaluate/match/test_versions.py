"""`score.py match`: which version of a library a device has, or which ones it may have."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import skimage.transform
from PIL import Image

from generators.geometry import frame
from generators.registry import find
from pipelines.evaluate.match import match
from pipelines.evaluate.options import MatchOptions
from pipelines.shards import open_shards
from tests.conftest import Command

VERSIONS = ("pil_bilinear", "pil_bilinear-12.0.0", "pil_bilinear-12.3.0", "pil_bilinear-13.0.0")


@pytest.fixture(scope="module")
def sources(photographs: Mapping[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tall photographs: Pillow 13 resizes images differently if their height shrinks most."""
    folder = tmp_path_factory.mktemp("tree") / "n02123045"
    folder.mkdir()
    for key in ("chelsea", "coffee", "flower"):
        with Image.open(io.BytesIO(photographs[key])) as image:
            image.crop((0, 0, 260, image.height)).resize((260, 1200)).save(folder / f"{key}.JPEG", quality=95)
    return folder


@pytest.fixture(scope="module")
def root(sources: Path, tmp_path_factory: pytest.TempPathFactory, generate: Command) -> Path:
    """Shards in which Pillow 13's resize differs, and those of earlier versions are equal."""
    output = tmp_path_factory.mktemp("out")
    words = ["--variant", ",".join([*reversed(VERSIONS), "pil_box"]), "--dataset", "imagenet"]
    generate(*words, "--source", sources.parent, "--geometry", "squash", "--output", output)
    return output / "imagenet"


def dumped(folder: Path, root: Path, sources: Path, decode: str, resize: str) -> MatchOptions:
    """A dump of a device with these methods."""
    decoder, resizer = find(decode), find(resize)
    assert decoder
    assert resizer
    folder.mkdir()
    for path in sources.iterdir():
        image = decoder.load()(path.read_bytes())
        target = frame("squash", image.shape[1], image.shape[0], (224,))
        assert target.resize
        Image.fromarray(target.cut(resizer.load()(image, *target.resize))).save(folder / f"{path.stem}.png")
    return MatchOptions(str(root), folder)


@pytest.mark.parametrize(
    ("resize", "tied", "version"),
    [
        ("pil_bilinear-13.0.0", VERSIONS[3:], "Pillow 13.0.0 resizes like this"),
        ("pil_bilinear-12.0.0", VERSIONS[:3], "Pillow 12.0.0 or 12.3.0, which resize alike here"),
        ("pil_bilinear", VERSIONS[:3], "Pillow 12.0.0 or 12.3.0, which resize alike here"),
    ],
)
def test_a_versions_own_dump_is_answered_by_it_and_equal_versions(
    resize: str,
    tied: tuple[str, ...],
    version: str,
    root: Path,
    sources: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    match(dumped(tmp_path / "dump", root, sources, "pil", resize))
    text = capsys.readouterr().out
    names = " = ".join(f"`{name}`" for name in tied)
    assert text.startswith(f"Your device matches {names} exactly: every pixel of 3 images.")
    assert f"\nWhich version: {version}.\n" in text


def test_other_versions_of_a_near_variant_are_suggested(
    root: Path, sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = dumped(tmp_path / "dump", root, sources, "pil", "pil_bilinear-13.0.0")
    for path in (tmp_path / "dump").iterdir():
        pixels = np.asarray(Image.open(path)).copy()
        pixels[0] ^= 1
        Image.fromarray(pixels).save(path)
    match(options)
    text = capsys.readouterr().out
    assert text.startswith("Nearest: `pil_bilinear-13.0.0` ")
    assert "generate.py --variant 'resize,pil-13.0.0+pil_bilinear-13.0.0,pil_bilinear-*' " in text


def test_versions_follow_their_method_in_order(root: Path) -> None:
    assert list(open_shards(root).variants) == [VERSIONS[0], "pil_box", *VERSIONS[1:]]


def test_a_method_is_near_although_similar_libraries_are_nearer_to_each_other(
    sources: Path, tmp_path: Path, generate: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--variant", "reference,opencv_bilinear,opencv_linear_exact,dali_linear", "--dataset", "imagenet"]
    generate(*words, "--source", sources.parent, "--geometry", "squash", "--output", tmp_path / "out")
    (tmp_path / "dump").mkdir()
    for path in sources.iterdir():
        image = np.asarray(Image.open(path))
        bilinear = skimage.transform.resize(image, (256, 256), order=1, anti_aliasing=False)
        pixels = np.rint(bilinear * 255).astype(np.uint8)[16:240, 16:240]
        Image.fromarray(pixels).save(tmp_path / "dump" / f"{path.stem}.png")
    match(MatchOptions(str(tmp_path / "out" / "imagenet"), tmp_path / "dump"))
    text = capsys.readouterr().out
    assert text.startswith("Nearest: ")
    assert re.search(r"^That one resizes like (OpenCV|DALI) \((bi)?linear, not antialiased", text, re.MULTILINE)
