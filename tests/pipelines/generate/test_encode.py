"""Images are written losslessly, and a faulty encoder is caught."""

from __future__ import annotations

import io
from collections.abc import Callable

import fpng
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from generators.registry import METHODS
from pipelines.generate.encode import FORMATS, EncodeError, encode


@pytest.fixture(scope="module")
def image(photographs: dict[str, bytes]) -> NDArray[np.uint8]:
    return METHODS["pil"].load()(photographs["chelsea"])[:97, :61]


@pytest.mark.parametrize("image_format", FORMATS)
def test_pillow_or_numpy_read_back_the_pixels(image_format: str, image: NDArray[np.uint8]) -> None:
    data = encode(np.ascontiguousarray(image), image_format)
    read = np.load(io.BytesIO(data)) if image_format == "npy" else np.asarray(Image.open(io.BytesIO(data)))
    assert read.dtype == np.uint8
    assert np.array_equal(read, image)


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 64, 3), (64, 1, 3)])
def test_tiny_images(image_format: str, shape: tuple[int, ...]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert encode(noise, image_format)


def faulty(times: int) -> Callable[..., bytes]:
    """fpng that gets one pixel wrong the first few times: a valid PNG of another image."""
    right, calls = fpng.from_bytes, []

    def from_bytes(data: bytes, width: int, height: int, channels: int) -> bytes:
        calls.append(1)
        wrong = bytes([data[0] ^ 1]) + data[1:]
        made: bytes = right(wrong if len(calls) <= times else data, width, height, channels)
        return made

    return from_bytes


def test_an_encoder_that_always_fails_is_caught(image: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fpng, "from_bytes", faulty(99))
    with pytest.raises(EncodeError, match="does not decode to its pixels"):
        encode(np.ascontiguousarray(image), "png")


def test_an_encoder_that_fails_once_is_retried(image: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = encode(np.ascontiguousarray(image), "png")
    monkeypatch.setattr(fpng, "from_bytes", faulty(1))
    assert encode(np.ascontiguousarray(image), "png") == expected
