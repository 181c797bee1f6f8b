"""Box noise equals United-Perception's formulas for `ALIGNED_FLAG.offset`, written out for one box at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from generators.boxes import NONE, BoxNoise, noise

PLACES = st.floats(-500, 900, width=32)
BOXES = st.lists(st.tuples(PLACES, PLACES, st.floats(0, 700, width=32), st.floats(0, 700, width=32)), max_size=8)


def corners(boxes: list[tuple[float, ...]]) -> NDArray[np.float32]:
    """Corners from positions and sides."""
    found = [(x, y, x + w, y + h) for x, y, w, h in boxes]
    return np.array(found, np.float32).reshape(-1, 4)


@given(BOXES)
def test_without_noise_nothing_changes(boxes: list[tuple[float, ...]]) -> None:
    given_, frame = corners(boxes), np.array([416, 320, 416, 320], np.float32)
    assert NONE.decoded(given_).tobytes() == given_.tobytes()
    assert NONE.decoded(given_, (416, 320)).tobytes() == given_.clip(0, frame).tobytes()
    assert NONE.sides(given_).tobytes() == (given_[:, 2:] - given_[:, :2]).tobytes()
    assert noise() == NONE


@given(BOXES, st.integers(1, 3), st.booleans(), st.booleans(), st.booleans())
def test_each_box_is_noised_by_itself(
    boxes: list[tuple[float, ...]], offset: int, everywhere: bool, rounded: bool, clips: bool
) -> None:
    made = noise(offset, everywhere, rounded)
    given_ = corners(boxes)
    found = made.decoded(given_, (416, 320) if clips else None)
    assert found.dtype == np.float32
    sides = made.sides(found)
    counted = offset if everywhere else 0
    for (x1, y1, x2, y2), one, (width, height) in zip(given_, found, sides, strict=True):
        wanted = [x1, y1, x2 - np.float32(offset), y2 - np.float32(offset)]
        if clips:
            edges = (416 - counted, 320 - counted) * 2
            wanted = [min(max(value, 0), edge) for value, edge in zip(wanted, edges, strict=True)]
        if rounded:
            wanted = [round(float(value)) for value in wanted]  # Python also rounds halves to even
        assert one.tolist() == pytest.approx(wanted, abs=0)
        assert width == pytest.approx(max(one[2] - one[0] + counted, 0), abs=1e-4)
        assert height == pytest.approx(max(one[3] - one[1] + counted, 0), abs=1e-4)


def test_decoding_and_sides_cancel_for_whole_boxes() -> None:
    """What decoding subtracts is added again in sides: United-Perception is consistent with itself."""
    box = np.array([[3, 4, 13, 24]], np.float32)
    everywhere = noise(1, everywhere=True)
    assert everywhere.sides(everywhere.decoded(box)).tolist() == NONE.sides(box).tolist() == [[10, 20]]
    assert noise(1).sides(noise(1).decoded(box)).tolist() == [[9, 19]]


def test_sides_are_never_negative() -> None:
    thin = np.array([[5, 5, 5.25, 9]], np.float32)
    assert noise(1).sides(noise(1).decoded(thin)).tolist() == [[0, 3]]


def test_noise_is_a_value() -> None:
    assert noise(1, True) == BoxNoise(1, 1, False)
    assert len({noise(1), noise(1), noise(1, True), noise(rounded=True)}) == 3
