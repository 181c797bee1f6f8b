"""Colour round trips, and misread YUV, compared with the ffmpeg program, OpenCV and exact arithmetic."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from generators.pixels import ascend
from generators.registry import METHODS

COLORS = sorted(token for token, method in METHODS.items() if method.stage == "color")
SUBSAMPLED = [token for token in COLORS if token.startswith("nv12")]


def color(token: str, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    noised = METHODS[token].load()(image)
    assert noised.dtype == np.uint8
    assert noised.shape == image.shape
    return noised


@pytest.fixture(scope="module")
def photograph(photographs: dict[str, bytes]) -> NDArray[np.uint8]:
    return METHODS["pil"].load()(photographs["flower"])[:224, 200:424]


def fixed_point(red: int, green: int, blue: int) -> tuple[int, ...]:
    """The fixed-point round trip of one pixel, in plain Python."""
    y = ((66 * red + 129 * green + 25 * blue + 128) >> 8) + 16
    u = ((-38 * red - 74 * green + 112 * blue + 128) >> 8) + 128
    v = ((112 * red - 94 * green - 18 * blue + 128) >> 8) + 128
    c, d, e = y - 16, u - 128, v - 128
    back = (298 * c + 409 * e + 128) >> 8, (298 * c - 100 * d - 208 * e + 128) >> 8, (298 * c + 516 * d + 128) >> 8
    return tuple(min(max(value, 0), 255) for value in back)


def exact(red: int, green: int, blue: int, *, full: bool) -> tuple[int, int, int]:
    """BT.601 to 8 bits and back in exact fractions, from its definitions of the colour-difference signals."""
    steps, floor = (Fraction(255), 0) if full else (Fraction(219), 16)
    chroma = Fraction(255) if full else Fraction(224)
    r, g, b = (Fraction(value, 255) for value in (red, green, blue))
    luma = Fraction(299, 1000) * r + Fraction(587, 1000) * g + Fraction(114, 1000) * b

    def quantise(value: Fraction) -> int:
        return min(max(round(value), 0), 255)

    y = quantise(luma * steps + floor)
    u = quantise((b - luma) / Fraction(1772, 1000) * chroma + 128)
    v = quantise((r - luma) / Fraction(1402, 1000) * chroma + 128)
    luma = (y - floor) / steps
    r = luma + Fraction(1402, 1000) * (v - 128) / chroma
    b = luma + Fraction(1772, 1000) * (u - 128) / chroma
    g = (luma - Fraction(299, 1000) * r - Fraction(114, 1000) * b) / Fraction(587, 1000)
    return quantise(r * 255), quantise(g * 255), quantise(b * 255)


# The paper's equations 5 (its rows Y, U, V) and 6, as printed in its appendix A.
EQUATION_5 = np.array(
    [[0.256788, 0.504129, 0.097906], [-0.148223, -0.290993, 0.439216], [0.439216, -0.367788, -0.071427]]
)
EQUATION_6 = np.array([[1.164383, 0, 1.596027], [1.164383, -0.391762, -0.812968], [1.164383, 2.017232, 0]])
OFFSET = np.array([16, 128, 128])


@pytest.fixture(scope="module")
def colors() -> NDArray[np.uint8]:
    """Colours from all over the cube: every fifth value of each channel."""
    steps = np.arange(0, 256, 5, np.uint8)
    return np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(len(steps), -1, 3)


def share(mine: NDArray[Any], theirs: NDArray[Any]) -> float:
    return float((mine != theirs).mean())


def test_nv12_ascend_differs_from_the_equations_by_at_most_one(colors: NDArray[np.uint8]) -> None:
    printed = np.rint(colors @ EQUATION_5.T) + OFFSET
    integer = (colors.astype(int) @ np.array(ascend._INTEGER_FORWARD).T + 128 >> 8) + OFFSET
    assert np.abs(integer - printed).max() == 1
    assert share(integer, printed) == pytest.approx(0.125, abs=0.002)
    assert [share(integer[..., k], printed[..., k]) for k in range(3)] == pytest.approx([0.088, 0.157, 0.13], abs=0.003)


def test_yuv444_float_equals_equations_5_and_6(colors: NDArray[np.uint8]) -> None:
    yuv = np.rint(colors @ EQUATION_5.T)  # equation 6 subtracts 16 and 128 again
    back = np.clip(np.rint(yuv @ EQUATION_6.T), 0, 255)
    noised = color("yuv444_float", colors)
    assert share(noised, back) < 0.0005
    assert np.abs(noised - back).max() <= 3


PIXELS = st.tuples(*[st.integers(0, 255)] * 3)


def plain(token: str, pixel: tuple[int, ...]) -> list[int]:
    """A flat 2x2 patch, which subsampling leaves unchanged."""
    noised = color(token, np.full((2, 2, 3), pixel, np.uint8))
    assert (noised == noised[0, 0]).all()
    return [int(value) for value in noised[0, 0]]


@given(PIXELS)
def test_nv12_ascend_is_fixed_point(pixel: tuple[int, int, int]) -> None:
    assert plain("nv12_ascend", pixel) == list(fixed_point(*pixel))


@given(PIXELS)
def test_exact_matrices(pixel: tuple[int, int, int]) -> None:
    # Floating point may round a tie the other way; one step of chroma is at most two of RGB.
    for token, full in (("yuv444_float", False), ("nv12_full", True)):
        expected = exact(*pixel, full=full)
        assert max(abs(a - b) for a, b in zip(plain(token, pixel), expected, strict=True)) <= 2
    gray = (pixel[0],) * 3
    assert plain("nv12_full", gray) == list(gray)


def test_subsampling_averages_blocks_and_repeats_them() -> None:
    image = np.zeros((2, 4, 3), np.uint8)
    image[:, 0] = (255, 0, 0)  # one column of a block red, the other black: half the chroma everywhere
    noised = color("nv12_ascend", image).astype(int)
    assert (noised[:, 2:] == noised[0, 2]).all()
    red = fixed_point(255, 0, 0)
    assert noised[0, 1, 0] > 60  # red has bled into the black column
    assert abs(noised[0, 0, 0] - red[0]) > 60


@pytest.mark.parametrize("token", COLORS)
@pytest.mark.parametrize("shape", [(224, 224), (1, 1), (3, 5), (2, 7)])
def test_odd_sizes_keep_their_shape(token: str, shape: tuple[int, int], photograph: NDArray[np.uint8]) -> None:
    image = np.ascontiguousarray(photograph[: shape[0], : shape[1]])
    lifted = 16 if token == "yuv_limited_as_full" else 0  # black
    assert np.abs(color(token, image).astype(int) - image).mean() < 12 + lifted


@pytest.mark.parametrize("token", SUBSAMPLED)
def test_all_nv12_round_trips_are_close_to_one_another(token: str, photograph: NDArray[np.uint8]) -> None:
    ascend = color("nv12_ascend", photograph).astype(int)
    assert np.abs(color(token, photograph) - ascend).mean() < 3
    assert np.abs(color(token, photograph).astype(int) - photograph).mean() > 0.5


def test_yuv444_float_only_rounds(photograph: NDArray[np.uint8]) -> None:
    difference = np.abs(color("yuv444_float", photograph).astype(int) - photograph)
    assert 0 < difference.mean() < 1
    assert difference.max() <= 3


class Yuv(NamedTuple):
    """How YUV is written or read: Kr and Kb, and whether the range is full."""

    made: tuple[float, float]
    read: tuple[float, float]
    full: bool = False


# BT.601-7, section 2.5.1, and BT.709-6, section 3.2.
BT601, BT709 = (0.299, 0.114), (0.2126, 0.0722)
WAYS = {
    "nv12_bt709": Yuv(BT709, BT709),
    "yuv_601_as_709": Yuv(BT601, BT709),
    "yuv_limited_as_full": Yuv(BT601, BT601, full=True),
}


def differences(constants: tuple[float, float]) -> NDArray[np.float64]:
    """Rows Y, U, V over R, G, B: the luminance and colour-difference signals of both Recommendations."""
    kr, kb = constants
    luma = np.array([kr, 1 - kr - kb, kb])
    red, _, blue = np.eye(3)
    return np.array([luma, (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)])


def misread(image: NDArray[np.uint8], way: Yuv) -> NDArray[np.float64]:
    """8-bit YUV 4:4:4 of limited range (219 and 224 steps above 16 and around 128), read in a given way."""
    yuv = np.rint(image / 255 @ differences(way.made).T * (219, 224, 224) + OFFSET)
    signals = (yuv - (0, 128, 128)) / 255 if way.full else (yuv - OFFSET) / (219, 224, 224)
    return np.asarray(np.clip(np.rint(signals @ np.linalg.inv(differences(way.read)).T * 255), 0, 255))


@pytest.mark.parametrize(
    ("token", "mean", "most"),
    # swscale's conversion back from 4:2:0 is two steps too dark; from 4:4:4, all but a few values are exact.
    [("nv12_bt709", 2.1, 5), ("yuv_601_as_709", 0.05, 4), ("yuv_limited_as_full", 0.05, 3)],
)
def test_matrices_and_ranges_follow_the_recommendations(
    token: str, mean: float, most: int, colors: NDArray[np.uint8]
) -> None:
    patches = colors.repeat(8, axis=0).repeat(8, axis=1) if token.startswith("nv12") else colors
    noised = color(token, patches)
    middles = noised[4::8, 4::8] if token.startswith("nv12") else noised
    error = np.abs(middles - misread(colors, WAYS[token]))
    assert error.mean() < mean
    assert error.max() <= most
    # Another way of reading gives results that are far away.
    others = [other for name, other in WAYS.items() if name != token]
    assert all(np.abs(middles - misread(colors, other)).max() > 15 for other in others)


def test_effect_of_the_mistakes_on_gray_and_primaries() -> None:
    grays = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert np.abs(color("yuv_601_as_709", grays).astype(int) - grays).max() == 1  # of 256 grays, Y has 220
    assert plain("yuv_601_as_709", (255, 255, 255)) == [255, 255, 255]
    assert np.abs(color("yuv_limited_as_full", grays) - (16 + grays * (219 / 255))).max() <= 1
    assert plain("yuv_limited_as_full", (0, 0, 0)) == [16, 16, 16]
    assert plain("yuv_limited_as_full", (255, 255, 255)) == [235, 235, 235]
    assert plain("yuv_601_as_709", (0, 255, 0)) == [0, 216, 0]
    assert plain("yuv_601_as_709", (255, 0, 0)) == [255, 24, 0]


def program(ffmpeg: str, data: bytes, size: str, before: str, after: str, scale: str) -> bytes:
    """Raw pixels from the ffmpeg program."""
    words = [ffmpeg, "-v", "error", "-f", "rawvideo", "-pix_fmt", before, "-s", size, "-i", "-"]
    words += ["-vf", f"scale={scale}", "-f", "rawvideo", "-pix_fmt", after, "-"]
    return subprocess.run(words, input=data, capture_output=True, check=True).stdout


# Arguments of the scale filter: for writing and, in another process, for reading data that does not say how it was
# written.
SCALES = {
    "nv12_ffmpeg": ("nv12", "flags=bicubic", "flags=bicubic"),
    "nv12_bt709": ("nv12", "out_color_matrix=bt709:out_range=limited", "in_color_matrix=bt709:in_range=limited"),
    "yuv_601_as_709": ("yuv444p", "out_color_matrix=bt601:out_range=limited", "in_color_matrix=bt709:in_range=limited"),
    "yuv_limited_as_full": (
        "yuv444p",
        "out_color_matrix=bt601:out_range=limited",
        "in_color_matrix=bt601:in_range=full",
    ),
}


def by_the_program(ffmpeg: str, token: str, image: NDArray[np.uint8]) -> bytes:
    buffer, write, read = SCALES[token]
    size = f"{image.shape[1]}x{image.shape[0]}"
    yuv = program(ffmpeg, image.tobytes(), size, "rgb24", buffer, write)
    return program(ffmpeg, yuv, size, buffer, "rgb24", read)


@pytest.mark.parametrize("token", SCALES)
def test_swscale_methods_equal_the_program(ffmpeg: str, token: str, photograph: NDArray[np.uint8]) -> None:
    assert color(token, photograph).tobytes() == by_the_program(ffmpeg, token, photograph)


@pytest.mark.parametrize("token", ["yuv_601_as_709", "yuv_limited_as_full"])
def test_odd_sizes_equal_the_program(ffmpeg: str, token: str, photograph: NDArray[np.uint8]) -> None:
    for height, width in ((223, 221), (3, 5), (1, 1)):
        image = np.ascontiguousarray(photograph[:height, :width])
        assert color(token, image).tobytes() == by_the_program(ffmpeg, token, image)


def test_real_photographs_equal_the_program(ffmpeg: str, data: Path) -> None:
    for path in sorted((data / "imagenet" / "flat").iterdir())[:5]:
        decoded = METHODS["pil"].load()(path.read_bytes())
        image = np.ascontiguousarray(decoded[: len(decoded) // 2 * 2, : decoded.shape[1] // 2 * 2])
        for token in WAYS:
            assert color(token, image).tobytes() == by_the_program(ffmpeg, token, image), path.name
