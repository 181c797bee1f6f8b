"""Weighted mAP against data sets in which images are really repeated."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.cocoeval import Params

from pipelines.evaluate.detection import precision
from pipelines.evaluate.detection.matching import Category
from pipelines.evaluate.detection.precision import Precision
from pipelines.evaluate.statistics import Bootstrap, paired_bootstrap
from tests.pipelines.evaluate.detection.cocoeval import copied, load, mean_ap
from tests.pipelines.evaluate.detection.test_matching import ours, world


@pytest.mark.parametrize("at_once", [1, 100, precision._VALUES_AT_ONCE])
def test_a_weight_counts_like_copies_of_the_image(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_VALUES_AT_ONCE", at_once)
    path, found = world(3, tmp_path)
    for place, result in enumerate(found):
        result["score"] += place / 1e6  # copies would order ties differently
    content = json.loads(path.read_text())
    content["images"].sort(key=lambda image: image["id"])
    weights = next(iter(Bootstrap(6, 7).weights(9)))
    values = Precision(ours(path, found, tmp_path).categories, 9).mean(weights)
    # Without image 14: its object of id 0, which pycocotools never counts as matched, would get another id in a copy.
    drawn = weights[:, 4] == 0
    assert 0 < np.count_nonzero(drawn) < 6
    other = tmp_path / "copied.json"
    for times, value in zip(weights[drawn].astype(int).tolist(), values[drawn], strict=True):
        copies, detections = copied(content, found, times)
        other.write_text(json.dumps(copies))
        assert value == pytest.approx(mean_ap(load(other), detections), abs=1e-12)


def test_resamples_without_objects_are_skipped() -> None:
    right = np.ones((10, 1), bool)
    one = Precision([Category(np.array([0]), right, ~right, np.array([0]))], 4)
    values = Bootstrap(200, 0).values(one.mean, 4)
    assert np.isnan(values).any()
    assert paired_bootstrap(0.0, values - values) == (0, 0, 0, 1)


def test_recalls_are_pycocotools_s_to_the_bit() -> None:
    theirs = Params(iouType="bbox").recThrs
    assert np.array_equal(theirs, np.arange(precision._RECALLS) * precision._STEP)
    recalls = np.concatenate([theirs, np.nextafter(theirs, 0), np.nextafter(theirs[:-1], 1), np.arange(334) / 333])
    assert np.array_equal(precision._reached(recalls), np.searchsorted(theirs, recalls, side="right"))


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 8, 9, 16, 41])
def test_rows_accumulate_as_numpy_s(rows: int) -> None:
    values = np.random.default_rng(rows).integers(0, 9, (rows, 3)).astype(float)
    for function in (np.add, np.maximum):
        assert np.array_equal(precision._accumulate(function, values.copy()), function.accumulate(values))
