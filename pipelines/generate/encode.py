"""Lossless images: pixels to bytes, each checked by decoding it again.

PNG is written by fpng, WebP by Pillow and npy by NumPy. Before an image goes into a tar it is decoded, PNG and WebP by
OpenCV, and compared with the pixels: a wrong encoder cannot also be the judge.
"""

from __future__ import annotations

import functools
import importlib.metadata
import io
from collections.abc import Callable

import fpng
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from generators import opencv
from manifests.verify import decode

_ATTEMPTS = 3


class EncodeError(ValueError):
    """An image that the format cannot hold, or whose encoding did not decode to what went in, several times over."""


def _png(image: NDArray[np.uint8]) -> bytes:
    height, width = image.shape[:2]
    encoded: bytes = fpng.from_bytes(image.tobytes(), width, height, 3)
    return encoded


def _webp(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    # Fastest settings that are lossless also where alpha is absent; larger efforts cost 10x for 10% of the size.
    Image.fromarray(image).save(buffer, "WEBP", lossless=True, method=0, quality=0)
    return buffer.getvalue()


def _npy(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, image, allow_pickle=False)
    return buffer.getvalue()


_CODECS: dict[str, tuple[Callable[[NDArray[np.uint8]], bytes], Callable[[bytes], NDArray[np.uint8]]]] = {
    "png": (_png, opencv.decode),
    "webp": (_webp, opencv.decode),
    "npy": (_npy, functools.partial(decode, image_format="npy")),
}
FORMATS: tuple[str, ...] = tuple(_CODECS)

# Encoded bytes for each raw byte on 224x224 ImageNet crops, for the estimate of --dry-run.
EXPECTED_RATIO = {"png": 0.74, "webp": 0.51, "npy": 1.0}


def encode(image: NDArray[np.uint8], image_format: str) -> bytes:
    """Encode an RGB uint8 image of shape (height, width, 3) without loss, and check the result.

    Raises EncodeError if it cannot be encoded, or decodes to other pixels.
    """
    encoder, decoder = _CODECS[image_format]
    for _ in range(_ATTEMPTS):
        try:
            data = encoder(image)
            decoded = decoder(data)
        except MemoryError:
            raise
        except Exception as error:  # libraries have exceptions of their own for sizes that a format cannot hold
            raise EncodeError(str(error).partition("\n")[0]) from None
        if np.array_equal(decoded, image):
            return data
    raise EncodeError("the encoded image does not decode to its pixels")


def encode_label_map(classes: NDArray[np.uint8]) -> bytes:
    """A label map (height, width) as grayscale PNG by Pillow, checked by OpenCV. Raises EncodeError if that differs."""
    buffer = io.BytesIO()
    Image.fromarray(classes).save(buffer, "PNG")
    if not np.array_equal(opencv.decode_gray(buffer.getvalue()), classes):
        raise EncodeError("png: the encoded label map does not decode to its classes")
    return buffer.getvalue()


def versions(image_format: str) -> dict[str, str]:
    """What writes and checks the format besides Pillow, which has a part in every run, and what writes the manifest."""
    found = {"pyarrow": importlib.metadata.version("pyarrow"), "NumPy": np.__version__}
    if image_format != "npy":
        found |= opencv.versions()
    if image_format == "png":
        found["fpng"] = importlib.metadata.version("fpng")
    return found
