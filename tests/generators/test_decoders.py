"""Decoders, compared with the ffmpeg program and one another, and on formats other than plain JPEG."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from generators.geometry import Frame, frame
from generators.pixels import pillow
from generators.registry import METHODS
from tests.real import photographs_of

DECODERS = ("pil", "opencv", "ffmpeg", "dali", "dali_fast", "opencv_exif", "pil_draft", "opencv_reduced")
STORED = tuple(token for token in DECODERS if token != "opencv_exif")


def decode(token: str, data: bytes) -> NDArray[np.uint8]:
    method = METHODS[token]
    image = method.load()(data, *((1,) if method.shrinks else ()))
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    return image


def program(ffmpeg: str, path: Path) -> bytes:
    """The ffmpeg program's pixels for an image file, unrotated."""
    words = [ffmpeg, "-v", "quiet", "-noautorotate", "-i", str(path), "-frames:v", "1"]
    return subprocess.run([*words, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=False).stdout


def programs(ffmpeg: str, paths: Sequence[Path], folder: Path) -> list[bytes]:
    """The same for several files with a single start of the program, which takes longer than decoding."""
    words = [ffmpeg, "-v", "quiet"]
    for path in paths:
        words += ["-noautorotate", "-i", str(path)]
    for index in range(len(paths)):
        words += ["-map", f"{index}:v", "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24"]
        words += [str(folder / f"{index}")]
    subprocess.run(words, check=True)
    return [(folder / f"{index}").read_bytes() for index in range(len(paths))]


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def photograph(photographs: dict[str, bytes]) -> Image.Image:
    """A colour photograph with odd sides, so that chroma has incomplete blocks."""
    return Image.open(io.BytesIO(photographs["chelsea"])).convert("RGB").resize((301, 203))


def close(token: str, image: NDArray[np.uint8], expected: NDArray[np.uint8], limit: float) -> None:
    assert image.shape == expected.shape, token
    assert np.abs(image.astype(int) - expected).mean() < limit, token


@pytest.mark.parametrize("token", ["opencv", "dali"])
def test_libjpeg_decoders_agree_bit_for_bit(token: str, photographs: dict[str, bytes]) -> None:
    for key, data in photographs.items():
        assert np.array_equal(decode(token, data), decode("pil", data)), key


def test_ffmpeg_equals_the_program(ffmpeg: str, photographs: dict[str, bytes], tmp_path: Path) -> None:
    for key, data in photographs.items():
        path = tmp_path / f"{key}.jpg"
        path.write_bytes(data)
        assert decode("ffmpeg", data).tobytes() == program(ffmpeg, path), key


def test_fast_idct_is_noise(photographs: dict[str, bytes]) -> None:
    data = photographs["chelsea"]
    difference = np.abs(decode("dali_fast", data).astype(int) - decode("dali", data))
    assert 0 < difference.mean() < 3


@pytest.mark.parametrize("orientation", range(2, 9))
def test_only_one_decoder_applies_orientation(orientation: int, photograph: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain, turned = encoded(photograph, quality=95), encoded(photograph, quality=95, exif=exif)
    for token in STORED:
        assert np.array_equal(decode(token, turned), decode(token, plain)), token
    expected = np.asarray(Image.open(io.BytesIO(plain)).convert("RGB"))
    # EXIF 2.32, 4.6.4 A: the visual position of the stored image's row 0 and column 0.
    seen = {
        2: expected[:, ::-1],
        3: expected[::-1, ::-1],
        4: expected[::-1],
        5: expected.transpose(1, 0, 2),
        6: expected.transpose(1, 0, 2)[:, ::-1],
        7: expected.transpose(1, 0, 2)[::-1, ::-1],
        8: expected.transpose(1, 0, 2)[::-1],
    }
    assert np.array_equal(decode("opencv_exif", turned), seen[orientation])
    assert pillow.header(turned) == pillow.Header(301, 203, orientation)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_invalid_orientation_is_ignored(value: int, photograph: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    found = pillow.header(encoded(photograph, exif=exif))
    assert found == pillow.Header(301, 203, 1)


@pytest.mark.parametrize("token", DECODERS)
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_chroma_subsampling(token: str, subsampling: int, photograph: Image.Image) -> None:
    data = encoded(photograph, quality=95, subsampling=subsampling)
    close(token, decode(token, data), np.asarray(photograph), 6)


@pytest.mark.parametrize("token", DECODERS)
def test_grayscale_has_three_equal_channels(token: str, photograph: Image.Image) -> None:
    gray = photograph.convert("L")
    image = decode(token, encoded(gray, quality=95))
    assert np.array_equal(image[..., 0], image[..., 1])
    assert np.array_equal(image[..., 0], image[..., 2])
    close(token, image[..., 0], np.asarray(gray), 3)


@pytest.mark.parametrize("token", DECODERS)
def test_cmyk_comes_out_as_rgb(token: str, photograph: Image.Image) -> None:
    data = encoded(photograph.convert("CMYK"), quality=95)
    close(token, decode(token, data), np.asarray(photograph), 6)


@pytest.mark.parametrize("token", DECODERS)
def test_palette_png(token: str, photograph: Image.Image) -> None:
    palette = photograph.quantize(64)
    close(token, decode(token, encoded(palette, "PNG")), np.asarray(palette.convert("RGB")), 0.01)


@pytest.mark.parametrize("token", DECODERS)
def test_16_bit_gray_is_scaled_or_refused_never_clipped(token: str) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    data = encoded(Image.fromarray(ramp), "PNG")
    if token in ("pil", "pil_draft"):
        with pytest.raises(ValueError, match="16"):
            decode(token, data)
    else:
        close(token, decode(token, data)[..., 0], (ramp >> 8).astype(np.uint8), 1)


@pytest.mark.parametrize("token", DECODERS)
@pytest.mark.parametrize("data", [b"\xff\xd8\xff", b"<html>not found</html>", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_data_other_than_images_raises(token: str, data: bytes, photographs: dict[str, bytes]) -> None:
    with pytest.raises(Exception, match=r"\S"):
        decode(token, data)
    whole = photographs["rocket"]  # the decoder still works
    assert decode(token, whole).shape == decode("pil", whole).shape


@pytest.mark.parametrize("token", [token for token in DECODERS if token != "ffmpeg"])
def test_libjpeg_decoders_refuse_a_truncated_file(token: str, photographs: dict[str, bytes]) -> None:
    data = photographs["chelsea"]
    with pytest.raises((ValueError, OSError)):
        decode(token, data[: len(data) // 2])


def test_real_images_decode_alike(data: Path) -> None:
    for path in photographs_of(data).values():
        content = path.read_bytes()
        expected = decode("pil", content)
        assert np.array_equal(decode("opencv", content), expected), path.name
        assert np.array_equal(decode("dali", content), expected), path.name


# libavcodec 62 (in PyAV) reads component ids R, G, B as RGB and guesses other pixels for this fuzzed scan than
# Debian's libavcodec 59 does: a difference between versions, not between PyAV and the program.
_OTHER_VERSION = {"samp_rgb_ids_2x2_2x2_1x1.jpeg", "corrupt_fuzz_prog.jpg"}


def test_ffmpeg_equals_the_program_on_real_images(ffmpeg: str, data: Path, tmp_path: Path) -> None:
    real = list(photographs_of(data).values())
    for path, expected in zip(real, programs(ffmpeg, real, tmp_path), strict=True):
        assert decode("ffmpeg", path.read_bytes()).tobytes() == expected, path.name


def test_ffmpeg_equals_the_program_on_odd_files(ffmpeg: str, data: Path) -> None:
    for path in sorted(path for path in (data / "odd").iterdir() if path.suffix != ".tsv"):
        expected = program(ffmpeg, path)
        if path.name in _OTHER_VERSION:
            continue
        try:
            found = decode("ffmpeg", path.read_bytes()).tobytes() if path.stat().st_size else b""
        except Exception:
            found = b""
        assert found == expected, path.name


def test_shrinking_equals_pillow_and_opencv_for_the_same_target(photographs: dict[str, bytes]) -> None:
    for key, image in photographs.items():
        for size in (224, 100, 64, 24):
            _compare_shrunk(image, frame("crop", *Image.open(io.BytesIO(image)).size, (size,)), key)


def test_shrinking_equals_pillow_and_opencv_on_real_images(data: Path) -> None:
    shrunk, paths = 0, photographs_of(data).values()
    for path in paths:
        image = path.read_bytes()
        target = frame("crop", *Image.open(io.BytesIO(image)).size, (112,))
        _compare_shrunk(image, target, path.name)
        shrunk += target.shrink > 1
    assert shrunk > 0.8 * len(paths)


def _compare_shrunk(data: bytes, target: Frame, name: str) -> None:
    picture = Image.open(io.BytesIO(data))
    assert target.resize is not None
    picture.draft("RGB", target.resize)  # chooses the scale itself
    pixels = np.asarray(picture.convert("RGB"))
    assert np.array_equal(METHODS["pil_draft"].load()(data, target.shrink), pixels), name
    flags = {1: 1, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
    scale = next(each for each in flags if -(-target.source[0] // each) == picture.width)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags[scale] | cv2.IMREAD_IGNORE_ORIENTATION)
    assert image is not None
    assert np.array_equal(METHODS["opencv_reduced"].load()(data, target.shrink), image[..., ::-1]), name
    assert target.shrink == 1 or all(side >= least for side, least in zip(picture.size, target.resize, strict=True))


@pytest.mark.parametrize("token", ["pil_draft", "opencv_reduced"])
def test_other_formats_than_jpeg_are_shrunk_only_by_opencv(token: str, photograph: Image.Image) -> None:
    image = METHODS[token].load()(encoded(photograph, "PNG"), 2)
    assert image.shape == ((203, 301, 3) if token == "pil_draft" else (101, 150, 3))
