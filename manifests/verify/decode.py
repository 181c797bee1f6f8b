"""Decoders for the members of shards: images, label maps and mel spectrograms as arrays."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from manifests import png
from manifests.images import extension_of

# Lossless formats by Pillow's names. No others are opened, since some, such as EPS, run programs.
_FORMATS = {"png": ("PNG",), "webp": ("WEBP",)}


def decode_mel(data: bytes) -> NDArray[np.float32]:
    """A shard's mel spectrogram as float32 of shape (bands, frames)."""
    loaded: NDArray[np.float32] = np.load(io.BytesIO(data), allow_pickle=False)
    if loaded.dtype != np.dtype("<f4") or loaded.ndim != 2:
        raise ValueError(f"it is {loaded.dtype} of shape {loaded.shape}, not a mel spectrogram")
    return loaded


def decode(data: bytes, image_format: str) -> NDArray[np.uint8]:
    """A shard's image as RGB uint8 of shape (height, width, 3). NumPy reads npy, ISA-L most PNGs, Pillow the rest."""
    extension = extension_of(image_format)
    if extension == "png" and (pixels := png.read(data)) is not None:
        return pixels
    if extension == "npy":
        loaded: NDArray[np.uint8] = np.load(io.BytesIO(data), allow_pickle=False)
        if loaded.dtype != np.uint8 or loaded.ndim != 3 or loaded.shape[2] != 3:
            raise ValueError(f"it is {loaded.dtype} of shape {loaded.shape}, not an image")
        return loaded
    with Image.open(io.BytesIO(data), formats=_FORMATS.get(extension, ())) as image:
        return np.asarray(image.convert("RGB"))


def decode_label_map(data: bytes) -> NDArray[np.uint8]:
    """A shard's label map as uint8 of shape (height, width)."""
    with Image.open(io.BytesIO(data), formats=_FORMATS["png"]) as image:
        classes = np.asarray(image)
    if classes.dtype != np.uint8 or classes.ndim != 2:
        raise ValueError(f"it is {classes.dtype} of shape {classes.shape}, not a label map")
    return classes
