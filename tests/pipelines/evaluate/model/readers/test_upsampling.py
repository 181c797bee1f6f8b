"""Upsampled scores against PyTorch's own `interpolate`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipelines.evaluate.model.readers.upsampling import LINEAR, best, nearest
from tests.generators.models.tiny import pytorch

SIZES = [
    ((6, 12), (48, 96)),
    ((7, 13), (48, 96)),  # of 49 x 97 pixels with aligned corners
    ((33, 65), (257, 150)),
    ((1, 3), (70, 9)),
    ((48, 97), (48, 96)),
    ((97, 97), (48, 31)),
    ((24, 48), (1, 1)),
]


def interpolated(scores: Any, size: tuple[int, int], mode: str) -> Any:
    """Scores (classes, height, width) interpolated by PyTorch to a size."""
    torch = pytorch()
    options = {"mode": "nearest"} if mode == "nearest" else {"mode": "bilinear", "align_corners": "corners" in mode}
    return torch.nn.functional.interpolate(torch.from_numpy(scores)[None], size=size, **options)[0].numpy()


@pytest.mark.parametrize("mode", LINEAR)
@pytest.mark.parametrize(("size", "into"), SIZES)
def test_the_largest_of_interpolated_scores_is_pytorch_s(
    size: tuple[int, int], into: tuple[int, int], mode: str
) -> None:
    scores = np.random.default_rng(sum(size)).normal(size=(5, *size)).astype(np.float32)
    theirs = interpolated(scores, into, mode)
    found = best(list(zip(scores, (4, 0, 3, 9, 1), strict=True)), *into, LINEAR[mode])
    expected = np.array([4, 0, 3, 9, 1])[theirs.argmax(axis=0)]
    second, first = np.sort(theirs, axis=0)[-2:]
    assert (first - second > 1e-5).mean() > 0.99
    np.testing.assert_array_equal(found[first - second > 1e-5], expected[first - second > 1e-5])


@pytest.mark.parametrize(("size", "into"), SIZES)
def test_the_nearest_class_is_pytorch_s(size: tuple[int, int], into: tuple[int, int]) -> None:
    classes = np.random.default_rng(sum(size)).integers(0, 19, size, np.uint8)
    expected = interpolated(classes[None].astype(np.float32), into, "nearest")[0]
    np.testing.assert_array_equal(nearest(classes, *into), expected)


def test_ties_go_to_the_first_score() -> None:
    scores = np.ones((3, 70, 2), np.float32)
    scores[2, 65] = 2
    found = best([(own, label) for own, label in zip(scores, (7, 3, 5), strict=True)], 70, 2)
    assert (found == np.where(np.arange(70) == 65, 5, 7)[:, None]).all()
