"""Classifiers on nine images: what they should predict, and noised cells."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.errors import UsageError
from pipelines.evaluate.model.cells import Cell, Noised
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.shards import Shards
from tests.pipelines.evaluate.model.models import (
    predict_plain,
)

RGB = Preprocessing((0.4, 0.5, 0.3), (0.2, 0.3, 0.25), 1 / 255, "rgb", "nchw")
WEIGHTS = np.random.default_rng(1).normal(size=(3, 1000)).astype(np.float32)
NAMES = ["pil_bilinear", "opencv", "pil_nearest"]


def images(shards: Shards, variant: str) -> dict[str, NDArray[np.float64]]:
    """RGB pixels by key, read by Pillow."""
    found = {}
    for path in sorted(Path(str(shards.root), variant).glob("*.tar")):
        with tarfile.open(path) as tar:
            for name in tar.getnames():
                if name.endswith(".png"):
                    file = tar.extractfile(name)
                    assert file is not None
                    found[name[:-4]] = np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB"), np.float64)
    return found


def means(shards: Shards, variant: str, preprocessing: Preprocessing) -> dict[str, NDArray[np.float64]]:
    """The means of each image's normalised channels, in the model's order."""
    order = [0, 1, 2] if preprocessing.channels == "rgb" else [2, 1, 0]
    return {
        key: (pixels.mean(axis=(0, 1))[order] * preprocessing.scale - preprocessing.mean) / preprocessing.std
        for key, pixels in images(shards, variant).items()
    }


def top_five(folder: Path, variant: str) -> dict[str, list[int]]:
    table = pq.read_table(folder / f"{variant}.parquet")
    assert table.schema.field("top5").type == pa.list_(pa.int64())
    return dict(zip(table["key"].to_pylist(), table["top5"].to_pylist(), strict=True))


def refused(shards: Shards, model: Path, preprocessing: Preprocessing, folder: Path) -> str:
    with pytest.raises(UsageError) as caught:
        predict_plain(shards, model, preprocessing, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def seen(folder: Path) -> list[str]:
    """The names of a folder's visible files."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def noised(shards: Shards, models: dict[str, Noised]) -> tuple[Shards, list[Cell]]:
    """Shards with a variant for each model and kind of pixels, and a cell for each."""
    variants, cells = {}, []
    for model in models.values():
        for variant in shards.variants.values():
            name = variant.name
            if model.name:
                name = model.name if variant is shards.reference else f"{name}+{model.name}"
            variants[name] = replace(variant, name=name)
            cells.append(Cell(variants[name], model))
    return replace(shards, variants=variants, reference=variants[shards.reference.name]), cells


def called(model: Noised, name: str) -> Noised:
    """A model with the name of a noised one."""
    return replace(model, name=name)


def below(shards: Shards, count: int) -> tuple[float, list[str]]:
    """A threshold that the mean of the first channel is below in `count` images of the reference, and their keys."""
    first = {key: float(mean[0]) for key, mean in means(shards, "pil_bilinear", RGB).items()}
    ordered = sorted(first.values())
    threshold = (ordered[count - 1] + ordered[count]) / 2
    return threshold, [key for key, mean in first.items() if mean < threshold]
