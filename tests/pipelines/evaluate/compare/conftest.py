"""Reports of three models on the same images, made once: predictions that are wrong at known places."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import score
from tests.pipelines.evaluate.conftest import COMBINED, write_predictions, wrong_in

Report = dict[str, Any]

VARIANTS = (
    *("pil_bilinear", "opencv", "ffmpeg", "pil_nearest", "opencv_area", "nv12_ascend"),
    *("ffmpeg+pil_nearest", "pil_nearest+nv12_ascend", COMBINED),
)
# The images that a model gets wrong, by variant; others have the reference's.
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
    """The report on these predictions, which are in its folder."""
    write_predictions(folder / "predictions", predictions)
    paths = ["--shards", str(shards), "--predictions", str(folder / "predictions"), "--output", str(folder)]
    assert score.main([*paths, "--name", folder.name, "--examples", "0", *words]) == 0
    return folder


@pytest.fixture(scope="session")
def models(noised: Path, truth: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of reports, by model."""
    root = tmp_path_factory.mktemp("models")
    return {
        model: scored(
            noised,
            root / model,
            {
                name: wrong_in(truth, wrong.get(name, wrong["pil_bilinear"]))
                for name in VARIANTS
                if (model, name) != ("steady", COMBINED)  # without a combined figure
            },
        )
        for model, wrong in WRONG.items()
    }


def read(folder: Path) -> Report:
    found: Report = json.loads((folder / "results.json").read_text())
    return found


@pytest.fixture(scope="session")
def compared(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    assert score.main(["compare", *map(str, models.values()), "--output", str(folder)]) == 0
    return folder


def edited(models: dict[str, Path], to: Path, change: Callable[[Report], object], model: str = "small20") -> Path:
    """A copy of a report with a changed `results.json`."""
    shutil.copytree(models[model], to)
    report = read(to)
    change(report)
    (to / "results.json").write_text(json.dumps(report))
    return to


def older(report: Report) -> None:
    """Make a report like those of earlier versions."""
    for name in ("set", "scored_with", "parameters", "bytes", "sha256", "paper_steps", "combined", "missing"):
        del report[name]
    for line in report["variants"].values():
        del line["unchanged"], line["stages"]["boxes"]


def submit(report: Path, site: Path, shards: Path, *words: str) -> int:
    return score.main(["compare", "--submit", str(report), "--publish", str(site), "--shards", str(shards), *words])


@pytest.fixture(scope="session")
def site(models: dict[str, Path], noised: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A leaderboard of one published model and one that was submitted and checked."""
    folder = tmp_path_factory.mktemp("published") / "site"
    assert score.main(["compare", str(models["small10"]), "--publish", str(folder)]) == 0
    assert submit(models["small20"], folder, noised) == 0
    return folder
