"""TensorFlow, any release from 2.0: `tf.io.decode_jpeg` and `tf.image.resize`, and the resize of TensorFlow 1.

Float results are rounded to the nearest step and clipped, which is what a later cast to 8 bits should do and
`tf.cast` does not.
"""

from __future__ import annotations

import os
from typing import Any, Tuple

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import tensorflow as tf

# A process a core runs, and threads of its own would fight over them.
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)

Given = Tuple[int, int, memoryview]
Made = Tuple[int, int, Any]


def decode(data: memoryview, dct_method: str = "") -> Made:
    """`tf.io.decode_jpeg(channels=3)`; its default inverse DCT is libjpeg's fast one."""
    return _given(_made(lambda: tf.io.decode_jpeg(bytes(data), channels=3, dct_method=dct_method)))


def resize(image: Given, width: int, height: int, method: str, antialias: bool = False) -> Made:
    """`tf.image.resize` with one of `tf.image.ResizeMethod`; without antialiasing by default."""
    return _given(tf.image.resize(_array(image), (height, width), method=method, antialias=antialias))


def resize_v1(image: Given, width: int, height: int) -> Made:
    """`tf.compat.v1.image.resize_bilinear` with its defaults: corners aligned at the top left, no half pixels."""
    return _given(tf.compat.v1.image.resize_bilinear(_array(image)[None], (height, width))[0])


def versions() -> dict[str, str]:
    """TensorFlow."""
    return {"TensorFlow": tf.__version__}


def _made(call: Any) -> Any:
    try:
        return call()
    except tf.errors.OpError as error:
        raise ValueError(error.message) from None


def _array(image: Given) -> Any:
    height, width, pixels = image
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def _given(image: Any) -> Made:
    array = image.numpy()
    if array.dtype != np.uint8:
        array = np.clip(np.rint(array), 0, 255).astype(np.uint8)
    return array.shape[0], array.shape[1], np.ascontiguousarray(array)
