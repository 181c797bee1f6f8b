"""The probe pictures: a few small images that exercise different paths of decoders, filters and encoders.

Three are cut from the built-in photographs, with common JPEG options; the others are unusual: grayscale, CMYK, a
palette, 16 bits, and rotated by EXIF. None is damaged, since libraries would print warnings on the user's terminal.
Nothing is scaled, so the pictures are the same wherever JPEG is written alike. They are flat for geometries that
enlarge, whose cost is that of their output.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from generators.geometry import frame
from generators.registry import Method
from pipelines.generate.calls import Caller, Failure, decode
from pipelines.generate.config import ImageConfig
from pipelines.generate.given import Given
from pipelines.generate.sources import Sample
from pipelines.generate.sources.sample import open_photograph

# Geometries that enlarge every image, however small.
_ENLARGES = frozenset({"keep_ratio"})
_FLAT = 12
# EXIF's orientation tag, and the value for a quarter turn (Exif 2.32, section 4.6.4).
_ORIENTATION, _QUARTER = 0x0112, 6


def given(config: ImageConfig) -> list[Given]:
    """The pictures as samples, in order, with label maps of their stored size if the dataset has them.

    Raises UsageError if a photograph is not installed.
    """
    segmented = config.dataset == "cityscapes"
    found = []
    for name, image, options in _pictures():
        width, height = image.size
        cut = image.crop((0, 0, width, height // _FLAT)) if config.geometry in _ENLARGES else image
        data = _encoded(cut, **options)
        found.append(Given(Sample(name, 0, name, len(data), ()), data, _classes(*cut.size) if segmented else None))
    return found


def outputs(method: Method, config: ImageConfig, pictures: Iterable[Given]) -> Iterator[bytes]:
    """A method's output for one picture after another, or the reason if there is none."""
    caller = Caller("", {}, None)
    if method.stage == "decode" or method.whole:
        extra = (2,) if method.shrinks else (224, 224) if method.whole else ()
        for picture in pictures:
            assert isinstance(picture.data, bytes)
            yield from parts(decode(method, picture.data, caller, *extra))
        return
    for pixels in probe_pixels():
        height, width = pixels.shape[:2]
        target = frame(config.geometry, width, height, config.size).resize or (width, height)
        arguments = target if method.stage == "resize" else ()
        yield from parts(caller.pixels((method,), functools.partial(method.load(), pixels, *arguments)))


def parts(made: NDArray[Any] | Failure) -> Iterator[bytes]:
    """What a digest of an output is made of: shape and values, or the reason for a failure."""
    if isinstance(made, Failure):
        yield made.reason.encode()
    else:
        yield repr(made.shape).encode()
        yield made.tobytes()


def probe_pixels() -> list[NDArray[np.uint8]]:
    """Images (height, width, 3) that need no decoder: part of a photograph, and noise of an odd size."""
    with open_photograph("chelsea") as photograph:
        part = np.array(photograph.crop((90, 20, 346, 212)))
    odd = np.arange(61 * 83 * 3, dtype=np.uint32) * 2654435761 >> 24  # Knuth's multiplicative hash
    return [part, odd.astype(np.uint8).reshape(61, 83, 3)]


def _pictures() -> Iterator[tuple[str, Image.Image, dict[str, Any]]]:
    """Names, images and the options for writing them."""
    with open_photograph("astronaut") as one, open_photograph("camera") as other:
        # Twice the size of most targets, so that decoders able to shrink do so.
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
    """Classes 0 to 18 in blocks, some of them unlabelled."""
    rows, columns = np.mgrid[:height, :width]
    blocks = (rows // 7 * 3 + columns // 11) % 20
    return np.where(blocks == 19, 255, blocks).astype(np.uint8)
