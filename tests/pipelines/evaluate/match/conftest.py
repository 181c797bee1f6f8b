"""Shards of six variants, and their images."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import Command, Once
from tests.pipelines.evaluate.match.dumps import BROKEN, FLAT, TURNED, VARIANTS, Images


@pytest.fixture(scope="session")
def made(once: Once, photographs: Mapping[str, bytes], generate: Command) -> Path:
    """A folder with sources and their shards."""
    return once("match", lambda folder: _make(folder, photographs, generate))


@pytest.fixture(scope="session")
def sources(made: Path) -> Path:
    """The built-in photographs as files, and three more: one that EXIF rotates, a truncated one, and a uniform one."""
    return made / "tree" / "n02123045"


@pytest.fixture(scope="session")
def root(made: Path) -> Path:
    """Shards of six variants, two of which have the same pixels."""
    return made / "out" / "imagenet"


def _make(folder: Path, photographs: Mapping[str, bytes], generate: Command) -> None:
    sources = folder / "tree" / "n02123045"
    sources.mkdir(parents=True)
    for key, data in photographs.items():
        (sources / f"{key}.JPEG").write_bytes(data)
    cat = photographs["chelsea"]
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(io.BytesIO(cat)).save(sources / f"{TURNED}.JPEG", exif=exif)
    Image.new("RGB", (300, 300), (128, 128, 128)).save(sources / f"{FLAT}.JPEG")
    (sources / f"{BROKEN}.JPEG").write_bytes(cat[: len(cat) // 2])
    words = ["--variant", ",".join(VARIANTS), "--dataset", "imagenet", "--source", sources.parent]
    generate(*words, "--output", folder / "out", status=1)  # the truncated one fails


@pytest.fixture(scope="session")
def stored(root: Path) -> dict[str, Images]:
    """The images of every variant, read with tarfile and OpenCV."""
    found: dict[str, Images] = {}
    for variant in VARIANTS:
        (path,) = (root / variant).glob("*.tar")
        with tarfile.open(path) as tar:
            names = [name for name in tar.getnames() if name.endswith(".png") and BROKEN not in name]
            found[variant] = {name.removesuffix(".png"): read(tar, name) for name in names}
    return found


def read(tar: tarfile.TarFile, name: str) -> NDArray[Any]:
    file = tar.extractfile(name)
    assert file
    image = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert image is not None
    return image
