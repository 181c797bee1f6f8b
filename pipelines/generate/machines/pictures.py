"""The probe pictures: a few small images that lead through what decoders, filters and encoders do on different paths.

Three are cut from the built-in photographs, with the JPEG options that sets are full of; the others are odd: grayscale,
CMYK, a palette, 16 bits, and turned by EXIF. None is damaged: libraries would write of that to the user's terminal.
Nothing is scaled, so that they are the same wherever JPEG is written alike. Where a geometry enlarges, they are flat,
since its output is what costs.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.generate.sources.sample import open_photograph


class ProbePicture(NamedTuple):
    """An encoded image, and a label map of its size as stored: uint8 of shape (height, width)."""

    name: str
    data: bytes
    classes: NDArray[np.uint8]


# Geometries that make every image large, however small it is.
_ENLARGES = frozenset({"keep_ratio"})
_FLAT = 12
# EXIF's tag of the orientation, and one that means a quarter turn (Exif 2.32, section 4.6.4).
_ORIENTATION, _QUARTER = 0x0112, 6


def probe_pictures(geometry: str) -> Iterator[ProbePicture]:
    """The pictures that are rendered in a geometry, in order. Raises UsageError where a photograph is not installed."""
    for name, image, options in _pictures():
        width, height = image.size
        cut = image.crop((0, 0, width, height // _FLAT)) if geometry in _ENLARGES else image
        yield ProbePicture(name, _encoded(cut, **options), _classes(*cut.size))


def probe_pixels() -> list[NDArray[np.uint8]]:
    """Images (height, width, 3) that need no decoder: a photograph's part, and noise of an odd size."""
    with open_photograph("chelsea") as photograph:
        part = np.array(photograph.crop((90, 20, 346, 212)))
    odd = np.arange(61 * 83 * 3, dtype=np.uint32) * 2654435761 >> 24  # Knuth's multiplicative hash
    return [part, odd.astype(np.uint8).reshape(61, 83, 3)]


def _pictures() -> Iterator[tuple[str, Image.Image, dict[str, Any]]]:
    """Names, images and the options that they are written with."""
    with open_photograph("astronaut") as one, open_photograph("camera") as other:
        # Twice as large as most targets, so that decoders which shrink do.
        large = Image.new("RGB", (640, 514))
        large.paste(other, (128, 2))
        large.paste(one, (0, 0))
        yield "large", large, {"format": "JPEG", "quality": 85, "subsampling": 2}
        yield "gray", other.crop((100, 100, 301, 257)), {"format": "JPEG", "quality": 90}
    with open_photograph("chelsea") as photograph:
        yield (
            "progressive",
            photograph.crop((0, 0, 330, 280)),
            {"format": "JPEG", "subsampling": 1, "progressive": True},
        )
        odd = photograph.crop((70, 30, 313, 221))
    yield "odd", odd, {"format": "JPEG", "quality": 75, "subsampling": 2}
    small = odd.crop((60, 40, 157, 113))
    yield "small", small, {"format": "JPEG", "quality": 95, "subsampling": 0}
    yield "cmyk", small.convert("CMYK"), {"format": "JPEG", "quality": 95}
    turned = Image.Exif()
    turned[_ORIENTATION] = _QUARTER
    yield "turned", small, {"format": "JPEG", "quality": 90, "exif": turned.tobytes()}
    yield "palette", small.quantize(64), {"format": "PNG"}
    deep = np.asarray(small.convert("L")).astype(np.uint16) * 255
    yield "deep", Image.fromarray(deep), {"format": "PNG"}


def _encoded(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def _classes(width: int, height: int) -> NDArray[np.uint8]:
    """Classes 0 to 18 in blocks, with none between some."""
    rows, columns = np.mgrid[:height, :width]
    blocks = (rows // 7 * 3 + columns // 11) % 20
    return np.where(blocks == 19, 255, blocks).astype(np.uint8)
