from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from generators.geometry import GEOMETRIES, MAX_RESIZED_PIXELS, Frame, before_crop, frame
from generators.registry import METHODS

SIDES = st.integers(1, 4000)
SIZES = st.sampled_from([32, 160, 224, 227, 288, 384])


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    """A frame of any geometry for a source of any shape."""
    name = draw(st.sampled_from(sorted(GEOMETRIES)))
    count = draw(st.sampled_from(GEOMETRIES[name].values))
    size = tuple(sorted(draw(SIZES) for _ in range(count)))
    try:
        return frame(name, draw(SIDES), draw(SIDES), size)
    except ValueError:
        assume(False)
        raise


@given(frames())
def test_the_crop_or_padding_matches_the_frame(found: Frame) -> None:
    columns, rows = found.resize or found.source
    # Either cropped inside the resized image or padded all around it; never both on one axis.
    for offset, inner, outer in ((found.crop_x, columns, found.width), (found.crop_y, rows, found.height)):
        assert (offset >= 0 and offset + outer <= inner) or (offset <= 0 and inner - offset <= outer)
    assert found.scale_x * found.source[0] == pytest.approx(columns)
    assert found.scale_y * found.source[1] == pytest.approx(rows)


@given(frames(), st.lists(st.floats(-10, 5000), min_size=4, max_size=4))
def test_coordinates_survive_a_round_trip(found: Frame, box: list[float]) -> None:
    boxes = np.array([box, box[::-1]])
    moved = found.to_output(boxes)
    np.testing.assert_allclose(found.to_source(moved), boxes, atol=1e-9)
    np.testing.assert_allclose(moved[0, 0], box[0] * found.scale_x - found.crop_x)
    np.testing.assert_allclose(moved[0, 3], box[3] * found.scale_y - found.crop_y)
    np.testing.assert_allclose(found.to_output(boxes[:, :2]), moved[:, :2])  # a point is half a box


@pytest.mark.parametrize("token", ["pil_box", "opencv_area"])
@pytest.mark.parametrize("name", ["keep_ratio", "letterbox", "stretch"])
def test_pixels_and_coordinates_agree(token: str, name: str) -> None:
    """A white rectangle lands where its box is mapped to, at integer scales."""
    size = {"keep_ratio": (120, 200), "letterbox": (160,), "stretch": (160, 120)}[name]
    image = np.zeros((240, 320, 3), np.uint8)
    image[40:80, 100:180] = 255
    found = frame(name, 320, 240, size)
    assert found.resize is not None
    output = found.cut(METHODS[token].load()(image, *found.resize))
    left, top, right, bottom = found.to_output(np.array([100.0, 40.0, 180.0, 80.0])).astype(int)
    rows, columns = np.nonzero(output[..., 0] == 255)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (top, bottom, left, right)


@given(SIDES, SIDES)
def test_letterbox_equals_ultralytics(width: int, height: int) -> None:
    """LetterBox.__call__ with its defaults, for new_shape=(640, 640), copied closely."""
    r = min(640 / height, 640 / width)
    new_unpad = round(width * r), round(height * r)
    assume(min(new_unpad) > 0)
    dw, dh = (640 - new_unpad[0]) / 2, (640 - new_unpad[1]) / 2
    top, bottom = round(dh - 0.1), round(dh + 0.1)
    left, right = round(dw - 0.1), round(dw + 0.1)
    found = frame("letterbox", width, height, (640,))
    assert found.resize == new_unpad
    assert (-found.crop_x, -found.crop_y) == (left, top)
    assert (left + new_unpad[0] + right, top + new_unpad[1] + bottom) == (found.width, found.height)


@given(SIDES, SIDES)
def test_keep_ratio_equals_united_perception(width: int, height: int) -> None:
    scale = min(800 / min(height, width), 1333 / max(height, width))
    expected = int(round(width * scale)), int(round(height * scale))  # noqa: RUF046 - its own words
    assume(min(expected) > 0)
    assert frame("keep_ratio", width, height, (800, 1333)).resize == expected


def test_padding_is_114_around_the_centre() -> None:
    found = frame("letterbox", 100, 50, (64,))
    padded = found.cut(np.full((32, 64, 3), 7, np.uint8))
    assert padded.shape == (64, 64, 3)
    assert (padded[:16] == 114).all()
    assert (padded[16:48] == 7).all()
    assert (padded[48:] == 114).all()


@given(SIDES, SIDES)
def test_crop_at_224_equals_torchvision_s_resize_256_and_center_crop(width: int, height: int) -> None:
    short, long = sorted((width, height))
    assume(256 * 256 * long / short < MAX_RESIZED_PIXELS)
    found = frame("crop", width, height, (224,))
    assert found.resize is not None
    assert min(found.resize) == 256
    # torchvision.transforms.functional: int(requested_new_short * long / short)
    assert max(found.resize) == int(256 * long / short)
    assert (found.resize[0] <= found.resize[1]) == (width <= height or max(found.resize) == 256)
    assert found.crop_y == int(round((found.resize[1] - 224) / 2.0))  # noqa: RUF046 - torchvision's own words
    assert found.crop_x == int(round((found.resize[0] - 224) / 2.0))  # noqa: RUF046 - likewise


@given(SIDES, SIDES, st.sampled_from([(224, 235), (224, 232), (240, 266), (224, 224), (331, 378), (1, 9)]))
def test_crop_of_any_side_equals_torchvision(width: int, height: int, size: tuple[int, int]) -> None:
    side, before = size
    short, long = sorted((width, height))
    assume(before * before * long / short < MAX_RESIZED_PIXELS)
    found = frame("crop", width, height, size)
    assert found.resize is not None
    assert (min(found.resize), max(found.resize)) == (before, int(before * long / short))
    assert (found.width, found.height) == (side, side)
    assert found.crop_x == int(round((found.resize[0] - side) / 2.0))  # noqa: RUF046 - torchvision's own words
    assert found.crop_y == int(round((found.resize[1] - side) / 2.0))  # noqa: RUF046 - likewise
    squashed = frame("squash", width, height, size)
    assert squashed.resize == (before, before)
    assert squashed.crop_x == squashed.crop_y == round((before - side) / 2)


@given(SIDES, SIDES, st.sampled_from([32, 160, 224, 227, 299, 384]), st.sampled_from(["crop", "squash"]))
def test_the_default_side_before_the_crop_may_be_given(width: int, height: int, side: int, name: str) -> None:
    short, long = sorted((width, height))
    assume(440 * 440 * long / short < MAX_RESIZED_PIXELS)
    assert frame(name, width, height, (side, before_crop(side))) == frame(name, width, height, (side,))


def test_a_crop_that_does_not_fit_is_refused() -> None:
    for size in ((224, 223), (), (224, 256, 3)):
        with pytest.raises(ValueError, match=r"does not fit|values to unpack"):
            frame("crop", 640, 480, size)


@pytest.mark.parametrize(("size", "side"), [(224, 256), (227, 259), (299, 341), (33, 37)])
def test_squash_truncates_as_the_official_generator_does(size: int, side: int) -> None:
    found = frame("squash", 640, 480, (size,))
    assert found.resize == (side, side)
    assert found.crop_x == found.crop_y == round((side - size) / 2)


def test_stretch_and_identity_do_not_crop() -> None:
    assert frame("stretch", 640, 480, (224,)).resize == (224, 224)
    kept = frame("identity", 640, 480, ())
    assert (kept.resize, kept.width, kept.height, kept.scale_x) == (None, 640, 480, 1.0)


def test_cut_is_contiguous_and_where_the_frame_says() -> None:
    image = np.arange(256 * 300 * 3, dtype=np.uint32).astype(np.uint8).reshape(256, 300, 3)
    found = frame("crop", 300, 256, (224,))
    cut = found.cut(image)
    assert cut.flags.c_contiguous
    assert cut.shape == (224, 224, 3)
    assert (cut[0, 0] == image[found.crop_y, found.crop_x]).all()


def test_a_frame_of_too_many_pixels_is_refused() -> None:
    assert frame("crop", 1, 256, (224,)).resize == (256, 65_536)
    with pytest.raises(ValueError, match="1x2000 would be resized to 256x512,000, over the limit of 16,777,216"):
        frame("crop", 1, 2000, (224,))


def test_scale_factors_and_truncation_are_a_pixel_apart() -> None:
    scale = 256 / 427
    rounded = cv2.resize(np.zeros((427, 640), np.uint8), None, fx=scale, fy=scale)
    crop = frame("crop", 640, 427, (224,))
    assert crop.resize == (383, 256)  # torchvision's int(256 * 640 / 427)
    assert rounded.shape == (256, 384)
    assert frame("keep_ratio", 640, 427, (256, 1000)).resize == (384, 256)
