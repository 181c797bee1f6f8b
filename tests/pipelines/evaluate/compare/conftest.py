"""Reports of three models on the same images, made once: predictions that are wrong at known places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import score
from tests.pipelines.evaluate.conftest import COMBINED, write_predictions, wrong_in

VARIANTS = (
    *("pil_bilinear", "opencv", "ffmpeg", "pil_nearest", "opencv_area", "nv12_ascend"),
    *("ffmpeg+pil_nearest", "pil_nearest+nv12_ascend", COMBINED),
)
# The places where a model is wrong, by variant; where none are said, those of the reference.
WRONG: Mapping[str, Mapping[str, Sequence[int]]] = {
    "small10": {
        "pil_bilinear": range(12),
        "ffmpeg": range(13),
        "pil_nearest": range(6, 40),
        "opencv_area": [*range(9), 20, 21, 22, 23],
        "nv12_ascend": range(16),
        COMBINED: range(36),
    },
    "small20": {"pil_bilinear": range(4), "ffmpeg": range(2, 7), "pil_nearest": range(1, 9), COMBINED: range(10)},
    "steady": {"pil_bilinear": [3, 30]},
}


def scored(shards: Path, folder: Path, predictions: Mapping[str, Mapping[str, int]], *words: str) -> Path:
    """The report on these predictions, which lie in it."""
    write_predictions(folder / "predictions", predictions)
    paths = ["--shards", str(shards), "--predictions", str(folder / "predictions"), "--output", str(folder)]
    assert score.main([*paths, "--name", folder.name, "--examples", "0", *words]) == 0
    return folder


@pytest.fixture(scope="session")
def models(noised: Path, truth: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of reports by model."""
    root = tmp_path_factory.mktemp("models")
    return {
        model: scored(
            noised,
            root / model,
            {
                name: wrong_in(truth, wrong.get(name, wrong["pil_bilinear"]))
                for name in VARIANTS
                if (model, name) != ("steady", COMBINED)  # which has no combined figure
            },
        )
        for model, wrong in WRONG.items()
    }
