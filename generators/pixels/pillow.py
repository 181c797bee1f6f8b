"""Pillow: decoding, its six resize filters, and the headers of source images.

Refuses modes that Pillow's `convert("RGB")` clips instead of scaling (16- and 32-bit grayscale), since no deployment
has noise of this kind.
"""

from __future__ import annotations

import io
import weakref
from dataclasses import dataclass

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, features

from generators.geometry import Box
from generators.pixels import icc

_ORIENTATION = 0x0112  # EXIF 2.32, table 4: tag 274, Orientation


@dataclass(frozen=True)
class Header:
    """What a file's header says: stored width and height in pixels, EXIF orientation (1 to 8; 1 if absent), and the
    description of its ICC profile (empty if it has none; see `icc.description`).
    """

    width: int
    height: int
    orientation: int
    profile: str = ""


def header(data: bytes) -> Header | None:
    """The header of an encoded image, without decoding it; None if Pillow does not know the format.

    Raises PIL.Image.DecompressionBombError for an image of more than 178,956,970 pixels.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            try:
                # Not PngImageFile's own method, which decodes the whole image to look for EXIF after it.
                orientation = Image.Image.getexif(image).get(_ORIENTATION, 1)
            except Exception:  # EXIF is parsed in Python and raises almost anything on damaged tags
                orientation = 1
            valid = isinstance(orientation, int) and 1 <= orientation <= 8
            width, height = image.size
            return Header(width, height, orientation if valid else 1, _profile(image.info.get("icc_profile", b"")))
    except Image.DecompressionBombError:
        raise
    except Exception:  # as do the parsers of rare formats
        return None


def _profile(embedded: object) -> str:
    """A profile's description. Pillow has None if its parts do not fit together, and a bad TIFF can have any type."""
    if not isinstance(embedded, bytes):
        return icc.UNREADABLE
    return icc.description(embedded) if embedded else ""


def decode(data: bytes) -> NDArray[np.uint8]:
    """`Image.open(...).convert("RGB")`; alpha is dropped, EXIF orientation is not applied."""
    return pixels_of(to_rgb(loaded(opened(data))))


def decode_shrunk(data: bytes, shrink: int) -> NDArray[np.uint8]:
    """As `decode`, after `Image.draft`, which makes libjpeg decode a JPEG at 1/2, 1/4 or 1/8, rounding sides up. Other
    formats are decoded at full size.
    """
    image = opened(data)
    image.draft("RGB", (image.width // shrink, image.height // shrink))
    return pixels_of(to_rgb(loaded(image)))


def opened(data: bytes) -> Image.Image:
    """An image whose header has been read. Raises ValueError if it is not an image."""
    try:
        return Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        raise ValueError("not an image in a format that Pillow knows") from None


def loaded(image: Image.Image) -> Image.Image:
    """The image, decoded in its own mode. Raises ValueError if it cannot be converted to RGB, and Pillow's errors."""
    with image:
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"mode {image.mode}: Pillow's convert('RGB') clips it to 8 bits instead of scaling")
        image.load()
    return image


def to_rgb(picture: Image.Image) -> Image.Image:
    """The image by Pillow's own conversion, ignoring profiles."""
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def pixels_of(picture: Image.Image) -> NDArray[np.uint8]:
    """The pixels of an RGB picture, which is remembered so that `resize` can use it."""
    pixels = np.asarray(picture)
    if not pixels.flags.writeable:
        _PICTURES[id(pixels)] = picture
        weakref.finalize(pixels, _PICTURES.pop, id(pixels))
    return pixels


# By array id, the unmodified pictures behind arrays, for as long as the arrays live: making a picture from an array
# takes a tenth of the time of a resize.
_PICTURES: dict[int, Image.Image] = {}


def _picture(pixels: NDArray[np.uint8]) -> Image.Image:
    # Pillow copies a part of an array to bytes first.
    return _PICTURES.get(id(pixels)) or Image.fromarray(np.ascontiguousarray(pixels))


def resize(image: NDArray[np.uint8], width: int, height: int, *, filter: str) -> NDArray[np.uint8]:
    """`Image.resize` with one of Pillow's filters (`Image.Resampling` names)."""
    return np.asarray(_picture(image).resize((width, height), Image.Resampling[filter]))


def decode_and_resize(data: bytes, box: Box | None, width: int, height: int, *, filter: str) -> NDArray[np.uint8]:
    """`decode`, `Image.crop` and `resize` without an array in between, which would take a seventh of their time."""
    picture = to_rgb(loaded(opened(data)))
    if box:
        rows, columns = box.within(*picture.size)
        picture = picture.crop((columns.start, rows.start, columns.stop, rows.stop))
    return np.asarray(picture.resize((width, height), Image.Resampling[filter]))


def resize_label_map(classes: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """A label map (height, width) resized by nearest neighbour, so that no new classes appear."""
    return np.asarray(Image.fromarray(classes).resize((width, height), Image.Resampling.NEAREST))


def versions() -> dict[str, str]:
    """Pillow and its codecs."""
    found = {"Pillow": PIL.__version__}
    for name, feature in (
        ("libjpeg-turbo", "libjpeg_turbo"),
        ("zlib", "zlib"),
        ("libwebp", "webp"),
        ("libtiff", "libtiff"),
    ):
        version = features.version(feature)
        if version:
            found[f"Pillow/{name}"] = version
    return found
