"""Top-1 and top-5 against scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import top_k_accuracy_score

from pipelines.errors import UsageError
from pipelines.evaluate.classification import Classification
from pipelines.shards import Shards
from tests.pipelines.evaluate.conftest import write_predictions
from tests.steps import result_of


def test_top1_and_top5_agree_with_scikit_learn(shards: Shards, truth: dict[str, int], tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    scores = random.normal(size=(len(truth), 1000))
    labels = np.array(list(truth.values()))
    scores[np.arange(len(labels)), labels] += 3.2  # right about half of the time
    pq.write_table(pa.table({"key": list(truth), "scores": scores.tolist()}), tmp_path / "x.parquet")
    found = result_of(Classification(shards, tmp_path / "x.parquet").score("ffmpeg", tmp_path / "x.parquet"))
    theirs = [top_k_accuracy_score(labels, scores, k=k, labels=np.arange(1000)) for k in (1, 5)]
    assert [found.figures["top1"], found.figures["top5"]] == pytest.approx(theirs)
    assert 0.2 < theirs[0] < theirs[1] < 1


@pytest.mark.parametrize("shift", [1, -1])
def test_classes_that_are_off_by_one_are_named(
    shift: int, shards: Shards, truth: dict[str, int], tmp_path: Path
) -> None:
    shifted = {key: max(label + shift, 0) for key, label in truth.items()}
    path = write_predictions(tmp_path, {"pil_bilinear": shifted}) / "pil_bilinear.csv"
    with pytest.raises(UsageError, match=f"off by one: give --class-offset {shift}$"):
        Classification(shards, path)
    if shift == 1:
        score = result_of(Classification(shards, path, offset=shift).score("pil_bilinear", path))
        assert score.figures == {"top1": 1.0}


def test_a_variant_whose_classes_are_off_by_one_is_named(shards: Shards, truth: dict[str, int], tmp_path: Path) -> None:
    shifted = {key: label + 1 for key, label in truth.items()}
    folder = write_predictions(tmp_path, {"pil_bilinear": truth, "ffmpeg": shifted})
    task = Classification(shards, folder / "pil_bilinear.csv")
    with pytest.raises(UsageError, match=r"ffmpeg\.csv: top-1 is 0\.0%, but 100\.0% with 1 subtracted from"):
        result_of(task.score("ffmpeg", folder / "ffmpeg.csv"))
