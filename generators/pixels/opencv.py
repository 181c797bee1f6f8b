"""OpenCV: decoding, the paper's five resize filters, and a round trip through NV12.

Uses one thread per process: the pipeline runs one process per core, with which OpenCV's own threads would compete.
"""

from __future__ import annotations

import os
import re
from typing import cast

import numpy as np
from numpy.typing import NDArray

from generators.geometry import MAX_PIXELS

# OpenCV reads its limit only once, when it is imported.
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)

import cv2

cv2.setNumThreads(1)


def decode(data: bytes, *, exif: bool = False) -> NDArray[np.uint8]:
    """`cv2.imdecode` to RGB; with `exif` the image is rotated by its EXIF orientation (OpenCV's default)."""
    return _decoded(data, cv2.IMREAD_COLOR_RGB if exif else cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)


def decode_shrunk(data: bytes, shrink: int) -> NDArray[np.uint8]:
    """`cv2.imdecode` with `IMREAD_REDUCED_COLOR_2`, `_4` or `_8`: libjpeg shrinks JPEGs while decoding, rounding sides
    up; OpenCV decodes other formats at full size and resizes them, rounding sides down.
    """
    if shrink == 1:
        return decode(data)
    image = _decoded(data, getattr(cv2, f"IMREAD_REDUCED_COLOR_{shrink}") | cv2.IMREAD_IGNORE_ORIENTATION)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)  # the reduced flags have no RGB


def _decoded(data: bytes, flags: int) -> NDArray[np.uint8]:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ValueError(f"imdecode refused it ({error.err})") from None
    if image is None:
        raise ValueError("imdecode returned no image (unknown format, or damaged data)")
    return np.asarray(image, np.uint8)


def decode_gray(data: bytes) -> NDArray[np.uint8]:
    """`cv2.imdecode` of an 8-bit grayscale image, unchanged: shape (height, width)."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError("imdecode returned no image")
    return np.asarray(image, np.uint8)


def resize(image: NDArray[np.uint8], width: int, height: int, *, interpolation: str) -> NDArray[np.uint8]:
    """`cv2.resize` with one of the `INTER_*` flags."""
    return cast("NDArray[np.uint8]", cv2.resize(image, (width, height), interpolation=getattr(cv2, interpolation)))


def nv12(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB → YUV 4:2:0 → RGB by OpenCV's BT.601 limited-range conversions.

    OpenCV writes I420 and reads NV12: the samples are the same, so the chroma planes are interleaved in between. It
    takes only even sizes: an odd edge is repeated, then cut off.
    """
    height, width = image.shape[:2]
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    rows, columns = even.shape[:2]
    i420 = cv2.cvtColor(even, cv2.COLOR_RGB2YUV_I420)
    luma, chroma = i420[:rows], i420[rows:].reshape(2, rows // 2, columns // 2)
    interleaved = np.ascontiguousarray(chroma.transpose(1, 2, 0)).reshape(rows // 2, columns)
    rgb = cv2.cvtColor(np.concatenate([luma, interleaved]), cv2.COLOR_YUV2RGB_NV12)
    return np.ascontiguousarray(rgb[:height, :width], dtype=np.uint8)


def versions() -> dict[str, str]:
    """OpenCV, the codecs that its build information names, and whether Intel's IPP is in use."""
    found = {"OpenCV": cv2.__version__}
    build = cv2.getBuildInformation()
    for name, label in (("libjpeg", "JPEG"), ("libpng", "PNG"), ("libwebp", "WEBP"), ("libtiff", "TIFF")):
        match = re.search(rf"^\s+{label}:\s+(.+)$", build, re.MULTILINE)
        if match:
            # Without the codec's path on the build machine.
            found[f"OpenCV/{name}"] = re.sub(r"^\S*/\S*\s*", "", match.group(1)).strip()
    found["OpenCV/IPP"] = cv2.ipp.getIppVersion() if cv2.ipp.useIPP() else "not used"
    return found
