"""The encoded images and label maps of one sample, each made once for all variants that agree in it."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from generators.geometry import Frame
from generators.pixels.pillow import resize_label_map
from pipelines.generate.calls import Caller, Failure
from pipelines.generate.encode import encode, encode_label_map
from pipelines.generate.pictures import Picture, Same
from pipelines.generate.sources.cityscapes import IGNORED


class Encoded(NamedTuple):
    """An encoded image, and its label map with the sha256 of its classes; None and empty if there is none."""

    image: bytes
    label_map: bytes | None
    label_map_sha256: str


class Encoder:
    """Encodes one sample's outputs, each picture once: methods often agree in every pixel."""

    def __init__(self, image_format: str, classes: NDArray[np.uint8] | None, caller: Caller) -> None:
        self._format = image_format
        self._caller = caller
        self._classes = classes
        self._images: dict[Same, bytes] = {}
        self._label_maps: dict[Frame, tuple[bytes, str]] = {}

    def encode(self, output: Picture) -> Encoded | Failure:
        if output.same not in self._images:
            encoded = self._caller.attempt(self._format, lambda: encode(output.pixels, self._format))
            if isinstance(encoded, Failure):
                return encoded
            self._images[output.same] = encoded
        try:
            label_map = None if self._classes is None else self._label_map(self._classes, output.frame)
        except ValueError as error:
            return Failure(str(error))
        return Encoded(self._images[output.same], *(label_map or (None, "")))

    def _label_map(self, classes: NDArray[np.uint8], target: Frame) -> tuple[bytes, str]:
        if target not in self._label_maps:
            framed = _frame_classes(classes, target)
            self._label_maps[target] = encode_label_map(framed), hashlib.sha256(framed.data).hexdigest()
        return self._label_maps[target]


def _frame_classes(classes: NDArray[np.uint8], target: Frame) -> NDArray[np.uint8]:
    """A label map in the output frame: nearest neighbour, padded with the ignored class."""
    height, width = classes.shape
    if (width, height) != target.source:
        raise ValueError(f"source: the label map is {width}x{height}, the image {target.source[0]}x{target.source[1]}")
    resized = resize_label_map(classes, *target.resize) if target.resize else classes
    return target.cut(resized, padding=IGNORED)
