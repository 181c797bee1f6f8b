"""Resize filters, compared with a table of known results, the ffmpeg program, and the official SysNoise generator."""

from __future__ import annotations

import gc
import io
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from generators.geometry import frame
from generators.pixels import pillow
from generators.registry import METHODS
from tests.methods import ON_CPU

RESIZES = sorted(token for token, method in ON_CPU.items() if method.stage == "resize")
# A float32 6x6 image with rows 255, 0, 255, 0, 255, 0, resized to 3x3: the three rows of the result.
GOLDEN = {
    "opencv_nearest": (255, 255, 255),
    "opencv_bilinear": (127.5, 127.5, 127.5),
    "opencv_area": (127.5, 127.5, 127.5),
    "opencv_bicubic": (103.594, 127.5, 151.406),
    "opencv_lanczos": (81.946, 127.5, 173.054),
    "pil_nearest": (0, 0, 0),
    "pil_bilinear": (145.714, 127.5, 109.286),
    "pil_bicubic": (146.172, 127.5, 108.828),
    "pil_lanczos": (148.205, 127.5, 106.795),
    "pil_box": (127.5, 127.5, 127.5),
    "pil_hamming": (132.564, 127.5, 122.436),
}


def resize(token: str, image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    resized = METHODS[token].load()(image, width, height)
    assert resized.dtype == image.dtype
    return resized


@pytest.mark.parametrize("token", GOLDEN)
def test_golden_table(token: str) -> None:
    stripes = np.tile(np.array([[255.0], [0.0]] * 3, np.float32), (1, 6))
    resized = METHODS[token].load()(stripes, 3, 3)
    expected = np.tile(np.array(GOLDEN[token], np.float32)[:, None], (1, 3))
    np.testing.assert_allclose(resized, expected, atol=5e-4)


@pytest.mark.parametrize("token", RESIZES)
@pytest.mark.parametrize("target", [(384, 256), (96, 64), (61, 47), (1, 1)])
def test_every_filter_gives_the_requested_size(
    token: str, target: tuple[int, int], photographs: dict[str, bytes]
) -> None:
    image = METHODS["pil"].load()(photographs["chelsea"])
    resized = resize(token, image, *target)
    assert resized.shape == (target[1], target[0], 3)
    assert abs(float(resized.mean()) - float(image.mean())) < (8 if min(target) > 1 else 60)


def official(resize_type: str, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The validation path of the official generator (`imagenet_s_gen.py`) at its size, 224, step by step."""
    library, mode = resize_type.split("_")
    if library == "pil":
        filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
        small = Image.fromarray(image).resize((256, 256), filters.get(mode) or Image.Resampling[mode.upper()])
        left = top = int(round((256 - 224) / 2.0))  # noqa: RUF046 - the generator's own words
        return np.asarray(small.crop((left, top, left + 224, top + 224)))
    flags = {
        "nearest": cv2.INTER_NEAREST,
        "bilinear": cv2.INTER_LINEAR,
        "area": cv2.INTER_AREA,
        "bicubic": cv2.INTER_CUBIC,
        "lanczos": cv2.INTER_LANCZOS4,
    }
    return np.asarray(cv2.resize(image, (256, 256), interpolation=flags[mode])[16:240, 16:240], np.uint8)


def official_decode(token: str, data: bytes) -> NDArray[np.uint8]:
    if token == "pil":
        return np.array(Image.open(io.BytesIO(data)).convert("RGB"))
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(np.asarray(image), cv2.COLOR_BGR2RGB), np.uint8)


@pytest.mark.parametrize("decoder", ["pil", "opencv"])
@pytest.mark.parametrize("token", GOLDEN)
def test_squash_equals_the_official_generator(decoder: str, token: str, photographs: dict[str, bytes]) -> None:
    for key, data in photographs.items():
        _compare_with_official(decoder, token, data, key)


@pytest.mark.parametrize("decoder", ["pil", "opencv"])
@pytest.mark.parametrize("token", GOLDEN)
def test_squash_equals_the_official_generator_on_real_images(decoder: str, token: str, data: Path) -> None:
    for path in sorted((data / "imagenet" / "flat").iterdir()):
        _compare_with_official(decoder, token, path.read_bytes(), path.name)


def _compare_with_official(decoder: str, token: str, data: bytes, name: str) -> None:
    image = METHODS[decoder].load()(data)
    target = frame("squash", image.shape[1], image.shape[0], (224,))
    assert target.resize is not None
    found = target.cut(resize(token, image, *target.resize))
    assert np.array_equal(found, official(token, official_decode(decoder, data))), name


def taps(source: int, target: int) -> NDArray[np.int64]:
    """INTER_LINEAR_EXACT's weights for one axis, (target, source), in 256ths: half-pixel centres, edges repeated.

    As in `interpolationLinear` and `ufixedpoint16` of OpenCV's modules/imgproc/src.
    """
    centres = (np.arange(target) + 0.5) * (source / target) - 0.5
    left = np.floor(centres).astype(int)
    right = np.rint((centres - left) * 256).astype(int)
    weights = np.zeros((target, source), np.int64)
    for tap, weight in ((left, 256 - right), (left + 1, right)):
        np.add.at(weights, (np.arange(target), np.clip(tap, 0, source - 1)), weight)
    return weights


@pytest.mark.parametrize("size", [(256, 171), (700, 450), (225, 150), (1, 1), (451, 300)])
def test_linear_exact_equals_its_fixed_point_arithmetic(size: tuple[int, int], photographs: dict[str, bytes]) -> None:
    image = METHODS["pil"].load()(photographs["chelsea"])
    columns, rows = taps(image.shape[1], size[0]), taps(image.shape[0], size[1])
    across = np.einsum("xw,hwc->hxc", columns, image.astype(np.int64))  # 8 fractional bits
    expected = np.einsum("yh,hxc->yxc", rows, across) + (1 << 15) >> 16
    resized = resize("opencv_linear_exact", image, *size)
    assert np.array_equal(resized, expected)
    assert np.array_equal(resized, cv2.resize(image, size, interpolation=cv2.INTER_LINEAR_EXACT))
    assert np.abs(resized - resize("opencv_bilinear", image, *size).astype(int)).max() <= 1


@pytest.mark.parametrize("token", [token for token in RESIZES if token.startswith("ffmpeg")])
def test_swscale_equals_the_program(token: str, ffmpeg: str, photographs: dict[str, bytes], tmp_path: Path) -> None:
    for key in ("chelsea", "coffee", "camera"):
        image = METHODS["pil"].load()(photographs[key])
        height, width = image.shape[:2]
        # Debian's libswscale is older than PyAV's, which reads all chroma of odd widths.
        flags = token.partition("_")[2] + ("+full_chroma_inp" if width % 2 else "")
        words = [ffmpeg, "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-i", "-"]
        sizes = ((384, 256), (225, 224), (700, 500))
        for columns, rows in sizes:
            words += ["-vf", f"scale={columns}:{rows}:flags={flags}", "-f", "rawvideo", "-pix_fmt", "rgb24"]
            words += ["-y", str(tmp_path / f"{columns}")]
        subprocess.run(words, input=image.tobytes(), capture_output=True, check=True)
        for columns, rows in sizes:
            expected = (tmp_path / f"{columns}").read_bytes()
            assert resize(token, image, columns, rows).tobytes() == expected, key


def test_dali_s_antialiased_linear_equals_pillow_s_bilinear_except_at_borders(photographs: dict[str, bytes]) -> None:
    image = METHODS["pil"].load()(photographs["coffee"])
    inside = slice(2, -2)
    expected = resize("pil_bilinear", image, 256, 171)[inside, inside].astype(int)
    for token in ("dali_linear_aa", "dali_triangular"):
        assert np.abs(resize(token, image, 256, 171)[inside, inside] - expected).max() <= 1
    assert np.abs(resize("dali_linear", image, 256, 171)[inside, inside] - expected).max() > 10


@pytest.mark.parametrize("token", [token for token in RESIZES if token.startswith("pil_")])
def test_pillow_resizes_decoded_pixels_like_any_array(token: str, photographs: dict[str, bytes]) -> None:
    gray, transparent = io.BytesIO(), io.BytesIO()
    Image.effect_noise((90, 70), 60).save(gray, "JPEG")
    Image.effect_noise((90, 70), 60).convert("RGB").save(transparent, "PNG", transparency=(1, 2, 3))
    for data in (photographs["chelsea"], gray.getvalue(), transparent.getvalue()):
        image = METHODS["pil"].load()(data)
        assert np.array_equal(resize(token, image, 64, 48), resize(token, image.copy(), 64, 48))


def test_pillow_s_pictures_live_only_as_long_as_their_pixels(photographs: dict[str, bytes]) -> None:
    gc.collect()
    before = len(pillow._PICTURES)
    image = METHODS["pil"].load()(photographs["chelsea"])
    assert len(pillow._PICTURES) == before + 1
    del image
    assert len(pillow._PICTURES) == before
