"""mIoU against scikit-learn's Jaccard index, and invalid label maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import jaccard_score

from pipelines.errors import UsageError
from pipelines.evaluate.results import Unscored
from pipelines.evaluate.scores import Scores
from pipelines.evaluate.segmentation import NAMES, Segmentation
from pipelines.evaluate.statistics import Bootstrap
from pipelines.options import Cluster
from pipelines.shards import Shards
from pipelines.store import Disk
from pipelines.work.cluster import Ray
from tests.conftest import Command
from tests.pipelines.evaluate.conftest import LabelMap
from tests.steps import result_of

BOOTSTRAP = Bootstrap(100, 0)


def predict(folder: Path, truths: dict[str, LabelMap], seed: int, wrong: float) -> dict[str, LabelMap]:
    """Label maps with a share of wrong pixels; ignored pixels get any class, as from a network."""
    random = np.random.default_rng(seed)
    folder.mkdir()
    found = {}
    for key, truth in truths.items():
        noise = random.choice(np.array([0, 2, 13, 18], np.uint8), truth.shape)
        found[key] = np.where((random.random(truth.shape) < wrong) | (truth == 255), noise, truth).astype(np.uint8)
        Image.fromarray(found[key]).save(folder / f"{key}.png")
    return found


def test_miou_agrees_with_scikit_learn(towns: Shards, truths: dict[str, LabelMap], tmp_path: Path) -> None:
    reference = predict(tmp_path / "pil", truths, 1, 0.1)
    variant = predict(tmp_path / "nv12_opencv", truths, 2, 0.3)
    task = Segmentation(towns, tmp_path / "pil", BOOTSTRAP)
    score = result_of(task.score("nv12_opencv", tmp_path / "nv12_opencv"))
    flat = {
        name: np.concatenate([maps[k].ravel() for k in truths]) for name, maps in (("r", reference), ("v", variant))
    }
    true = np.concatenate([truth.ravel() for truth in truths.values()])
    valid = true != 255
    theirs = {n: jaccard_score(true[valid], p[valid], average="macro") for n, p in flat.items()}
    assert score.figures["miou"] == pytest.approx(theirs["v"])
    assert score.comparison.delta == pytest.approx(theirs["r"] - theirs["v"])
    occurring = sorted({*true[valid].tolist(), *flat["v"][valid].tolist()})
    each = jaccard_score(true[valid], flat["v"][valid], average=None, labels=occurring)
    assert len(occurring) < 19
    assert score.by_class == pytest.approx({NAMES[label]: iou for label, iou in zip(occurring, each, strict=True)})
    assert score.comparison.low < score.comparison.delta < score.comparison.high
    right = {name: (predicted == true) & valid for name, predicted in flat.items()}
    assert score.lost.sum() == np.count_nonzero(right["r"] & ~right["v"])
    assert score.gained == np.count_nonzero(right["v"] & ~right["r"])


def test_the_reference_s_label_maps_changed_nothing(towns: Shards, truths: dict[str, LabelMap], tmp_path: Path) -> None:
    names = ("pil", "nv12_opencv")
    for name in names:
        predict(tmp_path / name, truths, 1, 0.1)
    places = {name: Disk(str(tmp_path / name)) for name in names}

    def unchanged() -> bool:
        here = Ray(Cluster(address=None))
        scores = Scores(lambda shards, reference: Segmentation(shards, reference, BOOTSTRAP), here, folders=True)
        scores.add(towns, places, tmp_path / "pil")
        return scores.results("m", towns, Unscored(), ()).line("nv12_opencv").unchanged

    assert unchanged()
    Image.fromarray(np.zeros((48, 96), np.uint8)).save(tmp_path / "nv12_opencv" / f"{next(iter(truths))}.png")
    assert not unchanged()


def test_the_same_label_maps_give_no_difference(towns: Shards, truths: dict[str, LabelMap], tmp_path: Path) -> None:
    predict(tmp_path / "pil", truths, 1, 0.1)
    score = result_of(Segmentation(towns, tmp_path / "pil", BOOTSTRAP).score("nv12_opencv", tmp_path / "pil"))
    assert score.comparison == (0, 0, 0, 1)
    assert not score.lost.any()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.full((48, 96), 26, np.uint8), r"4,608 pixels outside classes 0–18 \(first: 26\).*not its label ids"),
        (np.zeros((24, 48), np.uint8), r"of shape \(24, 48\)"),
        (np.zeros((48, 96, 3), np.uint8), "a label map must be uint8 with one channel"),
        (b"not a PNG", "cannot be read as a label map"),
        (None, "lacks 1 of 6 keys"),
    ],
)
def test_invalid_label_maps_are_refused(
    bad: LabelMap | bytes | None, message: str, towns: Shards, truths: dict[str, LabelMap], tmp_path: Path
) -> None:
    predict(tmp_path / "pil", truths, 1, 0.1)
    path = tmp_path / "pil" / f"{next(iter(truths))}.png"
    if bad is None:
        path.unlink()
    elif isinstance(bad, bytes):
        path.write_bytes(bad)
    else:
        Image.fromarray(bad).save(path)
    with pytest.raises(UsageError, match=message):
        Segmentation(towns, tmp_path / "pil", BOOTSTRAP)


def test_label_maps_are_scored_from_the_command_line(
    command: Command, towns: Shards, truths: dict[str, LabelMap], tmp_path: Path
) -> None:
    folder = tmp_path / "predictions"
    folder.mkdir()
    predict(folder / "pil", truths, 1, 0.05)
    predict(folder / "nv12_opencv", truths, 2, 0.5)
    done = command("score.py", "--shards", towns.root, "--predictions", folder, "--resamples", 200)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "report" / "results.json").read_text())
    assert (found["metric"], found["counted"], found["reference"]) == ("miou", "pixels", "pil")
    mine = found["variants"]["nv12_opencv"]
    score = result_of(
        Segmentation(towns, folder / "pil", Bootstrap(200, 0)).score("nv12_opencv", folder / "nv12_opencv")
    )
    assert mine["miou"] == pytest.approx(100 * score.figures["miou"])
    assert mine["p"] == score.comparison.p < 0.05
    assert np.mean(list(mine["iou"].values())) == pytest.approx(mine["miou"])
    assert "mIoU" in (tmp_path / "report" / "report.html").read_text()
