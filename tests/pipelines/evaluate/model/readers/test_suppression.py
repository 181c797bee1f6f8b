"""Non-maximum suppression against a loop over boxes."""

from __future__ import annotations

import numpy as np
import pytest

from generators.boxes import BoxNoise
from pipelines.evaluate.model.heads.common import Boxes, spread
from pipelines.evaluate.model.readers.boxes import choose
from tests.pipelines.evaluate.model.heads.grids import (
    overlap,
)


@pytest.mark.parametrize("offset", [0, 1, 8])
@pytest.mark.parametrize("one_class", [True, False])
def test_suppression_is_greedy_within_each_class(one_class: bool, offset: int) -> None:
    rng = np.random.default_rng(5)
    corner = rng.uniform(-20, 60, (60, 2))
    corners = np.concatenate([corner, corner + rng.uniform(10, 40, (60, 2))], axis=1).astype(np.float32)
    scores = np.zeros((60, 80), np.float32)
    scores[:, :3] = rng.permutation(180).reshape(60, 3) / 200
    found = choose(spread(corners, scores, 0.5, one_class), 0.5, BoxNoise(side_offset=offset))
    kept: list[tuple[float, int, int]] = []
    for score, row, label in sorted(((s, r, c) for (r, c), s in np.ndenumerate(scores) if s > 0.5), reverse=True):
        if one_class and scores[row].argmax() != label:
            continue
        mine = corners[row].astype(np.float64)
        if all(label != c or overlap(mine, corners[r].astype(np.float64), offset) <= 0.5 for _, r, c in kept):
            kept.append((float(score), row, label))
    assert 10 < len(kept) <= 100
    assert found.classes.tolist() == [label for *_, label in kept]
    np.testing.assert_allclose(found.scores, [score for score, *_ in kept])
    np.testing.assert_array_equal(found.corners, corners[[row for _, row, _ in kept]])
    if offset:
        without = choose(spread(corners, scores, 0.5, one_class), 0.5)
        assert len(without.scores) > len(found.scores) or offset == 1


def test_at_most_a_hundred_boxes_are_kept() -> None:
    corners = np.array([[i * 10, 0, i * 10 + 5, 5] for i in range(150)], np.float32)
    scores = np.zeros((150, 80), np.float32)
    scores[:, 3] = np.arange(150) / 150
    assert choose(spread(corners, scores, 0.0), 0.5).scores.tolist() == scores[:49:-1, 3].tolist()
    assert choose(spread(corners, scores, 0.0), None).scores.tolist() == scores[:49:-1, 3].tolist()
    assert len(choose(spread(corners, 0 * scores, 0.0, one_class=True), 0.5).scores) == 0


def test_a_hundred_boxes_are_kept_even_if_most_are_suppressed() -> None:
    """There are fifty identical boxes at each of 90 places; the boxes at other places come last."""
    places = np.concatenate([np.repeat(np.arange(90), 50), np.arange(90, 105)])
    corners = np.stack([places * 20, 0 * places, places * 20 + 10, 0 * places + 10], axis=1).astype(np.float32)
    scores = np.linspace(0.9, 0.1, len(places)).astype(np.float32)
    found = choose(Boxes(corners, scores, np.zeros(len(places), np.int64)), 0.5)
    np.testing.assert_array_equal(found.corners[:, 0], np.arange(100) * 20)
