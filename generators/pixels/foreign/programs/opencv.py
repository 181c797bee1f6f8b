"""OpenCV, any release from 4.1: does the same as `generators/pixels/opencv.py`."""

from __future__ import annotations

import os
import re
import sys
from typing import Any, Tuple

import numpy as np

# OpenCV reads its limit only once, when it is imported.
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = sys.argv[3]  # MOST_PIXELS of serve.py

import cv2

cv2.setNumThreads(1)

Given = Tuple[int, int, memoryview]
Made = Tuple[int, int, Any]

# Releases before 4.11 decode only to BGR.
_TO_RGB = not hasattr(cv2, "IMREAD_COLOR_RGB")
_COLOR = cv2.IMREAD_COLOR if _TO_RGB else cv2.IMREAD_COLOR_RGB


def decode(data: memoryview, exif: bool = False) -> Made:
    """`cv2.imdecode` to RGB; with `exif` the image is rotated by its EXIF orientation (OpenCV's default)."""
    image = _decoded(data, _COLOR if exif else _COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return _given(cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if _TO_RGB else image)


def decode_shrunk(data: memoryview, shrink: int) -> Made:
    """`cv2.imdecode` with `IMREAD_REDUCED_COLOR_2`, `_4` or `_8`, which old releases treat as `IMREAD_COLOR`."""
    if shrink == 1:
        return decode(data)
    image = _decoded(data, getattr(cv2, f"IMREAD_REDUCED_COLOR_{shrink}") | cv2.IMREAD_IGNORE_ORIENTATION)
    return _given(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def _decoded(data: memoryview, flags: int) -> Any:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ValueError(f"imdecode refused it ({error.err})") from None
    if image is None:
        raise ValueError("imdecode returned no image (unknown format, or damaged data)")
    return image


def resize(image: Given, width: int, height: int, interpolation: str) -> Made:
    """`cv2.resize` with one of the `INTER_*` flags."""
    return _given(cv2.resize(_array(image), (width, height), interpolation=getattr(cv2, interpolation)))


def nv12(image: Given) -> Made:
    """RGB to I420 (the same samples as NV12) and back, by OpenCV; an odd edge is repeated, then cut off."""
    height, width, _ = image
    even = np.pad(_array(image), ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    rows, columns = even.shape[:2]
    i420 = cv2.cvtColor(even, cv2.COLOR_RGB2YUV_I420)
    luma, chroma = i420[:rows], i420[rows:].reshape(2, rows // 2, columns // 2)
    interleaved = chroma.transpose(1, 2, 0).reshape(rows // 2, columns)
    rgb = cv2.cvtColor(np.concatenate([luma, interleaved]), cv2.COLOR_YUV2RGB_NV12)
    return _given(rgb[:height, :width])


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


def _array(image: Given) -> Any:
    height, width, pixels = image
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def _given(image: Any) -> Made:
    return image.shape[0], image.shape[1], np.ascontiguousarray(image)
