"""TensorFlow, any release from 2.2: `tf.io.decode_jpeg`, `tf.image.resize` and TensorFlow 1's resize; for sound,
`tf.signal`'s log-mel spectrograms.

All resizes but `nearest` return floats, which are rounded to the nearest integer, halves to even as by `tf.round`, and
clipped; `tf.cast` would cut off fractions.
"""

from __future__ import annotations

import os
import re
from typing import Any, Callable, Dict, Tuple

import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # read when TensorFlow is imported

import tensorflow as tf

# One process runs per core, and threads would compete for them.
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)

Given = Tuple[int, int, memoryview]
Made = Tuple[int, int, Any]

# The operation's name, around the reason.
_WHERE = re.compile(r"^\{\{.*?\}\} | \[Op:\w+\].*$")


def decode(data: memoryview, dct_method: str = "") -> Made:
    """`tf.io.decode_jpeg(channels=3)`, by default with libjpeg's fast inverse DCT (`INTEGER_FAST`).

    It also decodes PNG and GIF, and WebP since 2.20. Alpha is dropped, 16 bits are cut to the upper 8, CMYK is
    converted to RGB as by Pillow, to within one step; neither EXIF orientation nor colour profiles are applied. A
    truncated JPEG is refused, even if only its last marker is missing (`try_recover_truncated=False`, the default), as
    are animated GIF and WebP.
    """
    return _made(tf.io.decode_jpeg, bytes(data), channels=3, dct_method=dct_method)


def resize(image: Given, width: int, height: int, method: str, antialias: bool = False) -> Made:
    """`tf.image.resize` with one of `tf.image.ResizeMethod`; its default is no antialiasing."""
    return _made(tf.image.resize, _array(image), (height, width), method=method, antialias=antialias)


def resize_v1(image: Given, width: int, height: int) -> Made:
    """`tf.compat.v1.image.resize_bilinear` with its defaults, which were those of `tf.image.resize_images` before 2.0.

    Source positions are pixel indices times the scale: no half-pixel centres, no aligned corners, no antialiasing.
    """
    return _made(tf.compat.v1.image.resize_bilinear, _array(image)[None], (height, width))


def stft(samples: Tuple[int, memoryview], settings: Dict[str, Any]) -> Made:
    """Log-mel spectrograms as in its documentation (`tf.signal.mfccs_from_log_mel_spectrograms`), with the settings'
    numbers: `tf.signal.stft`, without padding, with a periodic Hann window; magnitude; the filters of
    `tf.signal.linear_to_mel_weight_matrix`, on HTK's scale, with peaks of 1, without the lowest bin; ln(mel + 1e-6).
    """
    count, data = samples
    length = settings["window"]
    if count < length:  # TensorFlow would return no frame
        raise ValueError(f"{count} samples are less than one window of {length}")
    transformed = tf.signal.stft(np.frombuffer(data, np.float32), length, settings["hop"], settings["n_fft"])
    filters = tf.signal.linear_to_mel_weight_matrix(
        settings["bands"], settings["n_fft"] // 2 + 1, settings["rate"], settings["low"], settings["high"]
    )
    mel = tf.matmul(filters, tf.abs(transformed), transpose_a=True, transpose_b=True)
    made = np.ascontiguousarray(tf.math.log(mel + 1e-6))
    return made.shape[0], made.shape[1], made


def versions() -> dict[str, str]:
    """TensorFlow."""
    return {"TensorFlow": tf.__version__}


def _array(image: Given) -> Any:
    height, width, pixels = image
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def _made(call: Callable[..., Any], *arguments: Any, **options: Any) -> Made:
    try:
        image = np.asarray(call(*arguments, **options))
    except tf.errors.ResourceExhaustedError:
        raise MemoryError from None
    except tf.errors.OpError as error:
        raise ValueError(_WHERE.sub("", error.message.splitlines()[0])) from None
    if image.ndim == 4:  # a batch of one, or the frames of a WebP
        (image,) = image
    if image.dtype != np.uint8:
        image = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return image.shape[0], image.shape[1], np.ascontiguousarray(image)
