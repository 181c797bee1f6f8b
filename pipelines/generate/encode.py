"""Lossless images: encodes pixels, and checks the bytes before they go into a tar.

fpng writes PNG, this package uncompressed PNG (`png_stored`), Pillow WebP and NumPy npy. A PNG is proven to contain its
pixels by inflating it. If that proves nothing, and for WebP, OpenCV decodes the image and the pixels are compared: a
faulty encoder must not be its own judge.
"""

from __future__ import annotations

import importlib.metadata
import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from generators.pixels import opencv
from manifests.verify import decode
from pipelines.generate import png

_ATTEMPTS = 3


class EncodeError(ValueError):
    """An image that the format cannot store, or whose encoding repeatedly failed to decode to the same pixels."""


def _webp(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    # The fastest lossless settings, also for images without alpha; higher efforts take 10x longer for 10% of the size.
    Image.fromarray(image).save(buffer, "WEBP", lossless=True, method=0, quality=0)
    return buffer.getvalue()


def _npy(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, image, allow_pickle=False)
    return buffer.getvalue()


def _decodes(data: bytes, image: NDArray[np.uint8]) -> bool:
    return np.array_equal(opencv.decode(data), image)


def _png_holds(data: bytes, image: NDArray[np.uint8]) -> bool:
    return png.is_proven(data, image) or _decodes(data, image)


def _npy_holds(data: bytes, image: NDArray[np.uint8]) -> bool:
    return np.array_equal(decode(data, "npy"), image)


# For each format, the function that writes it and the one that checks that its bytes hold the pixels.
_CODECS: dict[str, tuple[Callable[[NDArray[np.uint8]], bytes], Callable[[bytes, NDArray[np.uint8]], bool]]] = {
    "png": (png.write, _png_holds),
    "png_stored": (png.write_stored, _png_holds),
    "webp": (_webp, _decodes),
    "npy": (_npy, _npy_holds),
}
FORMATS: tuple[str, ...] = tuple(_CODECS)

# Encoded bytes per raw byte on 224x224 ImageNet crops, for --dry-run's estimate.
EXPECTED_RATIO = {"png": 0.74, "png_stored": 1.0, "webp": 0.51, "npy": 1.0}


def encode(image: NDArray[np.uint8], image_format: str) -> bytes:
    """Encode an RGB uint8 image of shape (height, width, 3) losslessly, and check the result.

    Raises EncodeError if it cannot be encoded, or does not decode to the same pixels.
    """
    write, holds = _CODECS[image_format]
    for _ in range(_ATTEMPTS):
        try:
            data = write(image)
            whole = holds(data, image)
        except MemoryError:
            raise
        except Exception as error:  # libraries have their own exceptions for sizes that a format cannot store
            raise EncodeError(str(error).partition("\n")[0]) from None
        if whole:
            return data
    raise EncodeError("the encoded image does not decode to its pixels")


def encode_label_map(classes: NDArray[np.uint8]) -> bytes:
    """Encode a label map (height, width) as grayscale PNG by Pillow. Raises EncodeError if OpenCV decodes others."""
    buffer = io.BytesIO()
    Image.fromarray(classes).save(buffer, "PNG")
    if not np.array_equal(opencv.decode_gray(buffer.getvalue()), classes):
        raise EncodeError("png: the encoded label map does not decode to its classes")
    return buffer.getvalue()


def versions(image_format: str) -> dict[str, str]:
    """Versions of what writes and checks the format and the manifest, except Pillow, which is part of every run."""
    found = {"pyarrow": importlib.metadata.version("pyarrow"), "NumPy": np.__version__}
    if image_format != "npy":
        found |= opencv.versions()
    if image_format == "png":
        found |= png.versions()
    return found
