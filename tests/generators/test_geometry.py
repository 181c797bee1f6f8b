from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from generators.geometry import GEOMETRIES, MAX_RESIZED_PIXELS, frame

SIDES = st.integers(1, 4000)
SIZES = st.sampled_from([32, 160, 224, 227, 288, 384])


@given(SIDES, SIDES, SIZES, st.sampled_from(sorted(GEOMETRIES)))
def test_the_crop_lies_inside_the_resized_frame(width: int, height: int, size: int, name: str) -> None:
    try:
        found = frame(name, width, height, size)
    except ValueError:
        assume(False)
    columns, rows = found.resize or (width, height)
    assert 0 <= found.crop_x <= found.crop_x + found.width <= columns
    assert 0 <= found.crop_y <= found.crop_y + found.height <= rows
    assert found.scale_x * width == pytest.approx(columns)
    assert found.scale_y * height == pytest.approx(rows)


@given(SIDES, SIDES)
def test_crop_at_224_is_torchvision_s_resize_256_and_center_crop(width: int, height: int) -> None:
    short, long = sorted((width, height))
    assume(256 * 256 * long / short < MAX_RESIZED_PIXELS)
    found = frame("crop", width, height, 224)
    assert found.resize is not None
    assert min(found.resize) == 256
    # torchvision.transforms.functional: int(requested_new_short * long / short)
    assert max(found.resize) == int(256 * long / short)
    assert (found.resize[0] <= found.resize[1]) == (width <= height or max(found.resize) == 256)
    assert found.crop_y == int(round((found.resize[1] - 224) / 2.0))  # noqa: RUF046 - torchvision's own words
    assert found.crop_x == int(round((found.resize[0] - 224) / 2.0))  # noqa: RUF046


@pytest.mark.parametrize(("size", "side"), [(224, 256), (227, 259), (299, 341), (33, 37)])
def test_squash_truncates_as_the_official_generator_does(size: int, side: int) -> None:
    found = frame("squash", 640, 480, size)
    assert found.resize == (side, side)
    assert found.crop_x == found.crop_y == round((side - size) / 2)


def test_stretch_and_identity_do_not_crop() -> None:
    assert frame("stretch", 640, 480, 224).resize == (224, 224)
    kept = frame("identity", 640, 480, 0)
    assert (kept.resize, kept.width, kept.height, kept.scale_x) == (None, 640, 480, 1.0)


def test_cut_is_contiguous_and_where_the_frame_says() -> None:
    image = np.arange(256 * 300 * 3, dtype=np.uint32).astype(np.uint8).reshape(256, 300, 3)
    found = frame("crop", 300, 256, 224)
    cut = found.cut(image)
    assert cut.flags.c_contiguous
    assert cut.shape == (224, 224, 3)
    assert (cut[0, 0] == image[found.crop_y, found.crop_x]).all()


def test_a_frame_that_would_be_a_bomb_is_refused() -> None:
    assert frame("crop", 1, 256, 224).resize == (256, 65_536)
    with pytest.raises(ValueError, match="1x2000 would be resized to 256x512,000, over the limit of 16,777,216"):
        frame("crop", 1, 2000, 224)
