"""`score.py match` if a variant's images have other sizes: a decoder that rotates images as EXIF says."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.evaluate.match import match
from pipelines.evaluate.options import MatchOptions
from pipelines.shards import open_shards
from tests.conftest import Command

VARIANTS = ("pil_bilinear", "opencv_exif", "pil_lanczos", "nv12_ascend")
TURNED = "turned"


@pytest.fixture(scope="module")
def root(photographs: Mapping[str, bytes], tmp_path_factory: pytest.TempPathFactory, generate: Command) -> Path:
    """Shards that keep the aspect ratio of three upright photographs and of one that EXIF rotates."""
    folder = tmp_path_factory.mktemp("tree") / "n02123045"
    folder.mkdir()
    for key in ("chelsea", "china", "rocket"):
        (folder / f"{key}.JPEG").write_bytes(photographs[key])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(io.BytesIO(photographs["chelsea"])).save(folder / f"{TURNED}.JPEG", exif=exif)
    output = tmp_path_factory.mktemp("out")
    words = ["--variant", ",".join(VARIANTS), "--dataset", "imagenet", "--source", folder.parent, "--output", output]
    words += ["--geometry", "keep_ratio", "--size", "120,200"]
    generate(*words)
    return output / "imagenet"


def dump_of(root: Path, variant: str, folder: Path) -> dict[str, NDArray[Any]]:
    shards = open_shards(root)
    images: dict[str, NDArray[Any]] = {stored.key: shards.pixels(stored) for stored in shards.stored(variant)}
    folder.mkdir()
    for key, image in images.items():
        np.save(folder / f"{key}.npy", image)
    return images


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variants_own_dump_ranks_it_first(
    variant: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dump_of(root, variant, tmp_path / "dump")
    match(MatchOptions(str(root), tmp_path / "dump"))
    assert capsys.readouterr().out.startswith(f"Your device matches `{variant}` exactly: every pixel of 4 images.")


def test_the_nearest_has_the_same_sizes(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = dump_of(root, "opencv_exif", tmp_path / "dump")
    assert images[TURNED].shape[0] > images[TURNED].shape[1]
    np.save(tmp_path / "dump" / f"{TURNED}.npy", images[TURNED] ^ 1)
    match(MatchOptions(str(root), tmp_path / "dump"))
    text = capsys.readouterr().out
    assert text.startswith(
        "Nearest: `opencv_exif` (mean |Δ| 0.25, every pixel of 3 of 4 images; next: `pil_bilinear`, "
    )
    # A quarter of the images have the largest possible difference from it.
    assert "next: `pil_bilinear`, 63.75)" in text
