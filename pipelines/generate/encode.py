"""Lossless images: pixels to bytes, each checked before it goes into a tar.

PNG is written by fpng, PNG without compression (`png_stored`) here, WebP by Pillow and npy by NumPy. A PNG is proven to
hold its pixels by inflating it; what is not proven so, and WebP, is decoded by OpenCV and compared: a wrong encoder
cannot also be the judge.
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
    """An image that the format cannot hold, or whose encoding did not decode to what went in, several times over."""


def _webp(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    # Fastest settings that are lossless also where alpha is absent; larger efforts cost 10x for 10% of the size.
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


# What writes a format, and what tells whether it holds the pixels.
_CODECS: dict[str, tuple[Callable[[NDArray[np.uint8]], bytes], Callable[[bytes, NDArray[np.uint8]], bool]]] = {
    "png": (png.write, _png_holds),
    "png_stored": (png.write_stored, _png_holds),
    "webp": (_webp, _decodes),
    "npy": (_npy, _npy_holds),
}
FORMATS: tuple[str, ...] = tuple(_CODECS)

# Encoded bytes for each raw byte on 224x224 ImageNet crops, for the estimate of --dry-run.
EXPECTED_RATIO = {"png": 0.74, "png_stored": 1.0, "webp": 0.51, "npy": 1.0}


def encode(image: NDArray[np.uint8], image_format: str) -> bytes:
    """Encode an RGB uint8 image of shape (height, width, 3) without loss, and check the result.

    Raises EncodeError if it cannot be encoded, or decodes to other pixels.
    """
    write, holds = _CODECS[image_format]
    for _ in range(_ATTEMPTS):
        try:
            data = write(image)
            whole = holds(data, image)
        except MemoryError:
            raise
        except Exception as error:  # libraries have exceptions of their own for sizes that a format cannot hold
            raise EncodeError(str(error).partition("\n")[0]) from None
        if whole:
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
        found |= png.versions()
    return found
