"""Colour conversions in plain NumPy: an Ascend board's, and its textbook relatives.

This is the only module that computes pixels itself, since the hardware's library cannot be installed. All conversions
are ITU-R BT.601 (Kr = 0.299, Kb = 0.114), with YUV quantised to 8 bits like any YUV buffer:

* limited range: Y in 16..235, U and V in 16..240 around 128;
* full range: Y in 0..255, U and V in 0..255 around 128 (JFIF);
* 4:2:0: each 2x2 block of chroma is averaged, rounded to nearest (an odd edge is repeated first); on the way back
  every pixel of the block takes that value (nearest neighbour).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_KR, _KB = 0.299, 0.114  # BT.601-7, section 2.5.1
_KG = 1.0 - _KR - _KB

# Rows Y, U, V over columns R, G, B, for E'Y in 0..1 and chroma in -0.5..0.5 (BT.601-7, section 2.5.2).
_FORWARD = np.array(
    [
        [_KR, _KG, _KB],
        [-_KR / (2 - 2 * _KB), -_KG / (2 - 2 * _KB), 0.5],
        [0.5, -_KG / (2 - 2 * _KR), -_KB / (2 - 2 * _KR)],
    ]
)
_LIMITED = np.array([219.0, 224.0, 224.0])  # quantisation steps, BT.601-7, section 2.5.3
_LIMITED_OFFSET = np.array([16.0, 128.0, 128.0])
_FULL = np.array([255.0, 255.0, 255.0])
_FULL_OFFSET = np.array([0.0, 128.0, 128.0])

# The same limited-range matrices in integers scaled by 256. Backward: the paper's equation 7, and Huawei's AIPP
# documentation, CSC configuration "YUV420SP_U8 to RGB888_U8", BT-601NARROW. Forward: its counterpart there (and in
# Microsoft's "Recommended 8-Bit YUV Formats"); the paper prints only equation 5, rounded to six digits.
_INTEGER_FORWARD = ((66, 129, 25), (-38, -74, 112), (112, -94, -18))
_INTEGER_BACKWARD = ((298, 0, 409), (298, -100, -208), (298, 516, 0))
_INTEGER_OFFSET = (16, 128, 128)


def _halve(chroma: NDArray[np.int32]) -> NDArray[np.int32]:
    """4:4:4 chroma (height, width, ...) to 4:2:0: the rounded mean of each 2x2 block."""
    height, width, *others = chroma.shape
    even = np.pad(chroma, [(0, height % 2), (0, width % 2), *[(0, 0)] * len(others)], mode="edge")
    total = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    mean: NDArray[np.int32] = (total + 2) >> 2
    return mean


def _double(chroma: NDArray[np.int32], height: int, width: int) -> NDArray[np.int32]:
    """4:2:0 chroma back to (height, width, ...) by repeating each value over its 2x2 block."""
    doubled: NDArray[np.int32] = chroma.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return doubled


def _subsample(yuv: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A 4:4:4 image after a round trip through 4:2:0."""
    height, width = yuv.shape[:2]
    chroma = _double(_halve(yuv[..., 1:].astype(np.int32)), height, width)
    return np.concatenate([yuv[..., :1], chroma.astype(np.uint8)], axis=2)


def _quantise(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _to_yuv(image: NDArray[np.uint8], steps: NDArray[np.float64], offset: NDArray[np.float64]) -> NDArray[np.uint8]:
    return _quantise(image @ (_FORWARD.T * (steps / 255.0)) + offset)


def _to_rgb(yuv: NDArray[np.uint8], steps: NDArray[np.float64], offset: NDArray[np.float64]) -> NDArray[np.uint8]:
    return _quantise(((yuv - offset) * (255.0 / steps)) @ np.linalg.inv(_FORWARD).T)


def nv12_ascend(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB → NV12 → RGB, BT.601 limited range in 8-bit fixed point: the paper's colour mode.

    Y = ((66 R + 129 G + 25 B + 128) >> 8) + 16, U and V likewise; back by equation 7. Over all colours, 12.5% of the
    values of Y, U and V differ from the paper's equation 5 (Y 8.8%, U 15.7%, V 13.0%), each by one.
    """
    height, width = image.shape[:2]
    red, green, blue = (image[..., channel].astype(np.int32) for channel in range(3))
    luma, *chroma = (
        (r * red + g * green + b * blue + 128 >> 8) + offset
        for (r, g, b), offset in zip(_INTEGER_FORWARD, _INTEGER_OFFSET, strict=True)
    )
    noised = np.empty_like(image)
    u, v = (_halve(plane) - 128 for plane in chroma)  # within 16..240 before, so nothing needs clipping
    for channel, (from_y, from_u, from_v) in enumerate(_INTEGER_BACKWARD):
        # Multiplying chroma before repeating it is a quarter of the work.
        values = from_y * (luma - 16) + _double(from_u * u + from_v * v + 128, height, width) >> 8
        noised[..., channel] = np.clip(values, 0, 255)
    return noised


def nv12_full(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB → NV12 → RGB in full range, with the exact BT.601 matrix, as Ascend's software DVPP does."""
    return _to_rgb(_subsample(_to_yuv(image, _FULL, _FULL_OFFSET)), _FULL, _FULL_OFFSET)


def yuv444_float(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB → 8-bit YUV 4:4:4 → RGB with the exact BT.601 limited-range matrix: only rounding is lost.

    The paper's equations 5 and 6 print the matrix with six digits, which changes 0.02% of all values.
    """
    return _to_rgb(_to_yuv(image, _LIMITED, _LIMITED_OFFSET), _LIMITED, _LIMITED_OFFSET)


def versions() -> dict[str, str]:
    """NumPy, whose arithmetic this is."""
    return {"NumPy": np.__version__}
