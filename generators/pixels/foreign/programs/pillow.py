"""Pillow, any release from 5.0: does the same as `generators/pixels/pillow.py`."""

from __future__ import annotations

import io
from typing import Any, Tuple

import PIL
from PIL import Image, features

Given = Tuple[int, int, memoryview]
Made = Tuple[int, int, bytes]

# Releases before 7 do not have it.
_UNKNOWN = getattr(PIL, "UnidentifiedImageError", OSError)


def decode(data: memoryview) -> Made:
    """`Image.open(...).convert("RGB")`; modes that `convert` clips are refused."""
    return given(to_rgb(loaded(opened(data))))


def decode_shrunk(data: memoryview, shrink: int) -> Made:
    """As `decode`, after `Image.draft`."""
    image = opened(data)
    image.draft("RGB", (image.width // shrink, image.height // shrink))
    return given(to_rgb(loaded(image)))


def resize(image: Given, width: int, height: int, filter: str) -> Made:
    """`Image.resize` with one of the filters."""
    rows, columns, pixels = image
    return given(_picture(rows, columns, pixels).resize((width, height), _filter(filter)))


def opened(data: memoryview) -> Any:
    """An image whose header has been read."""
    try:
        return Image.open(io.BytesIO(data))
    except _UNKNOWN:
        raise ValueError("not an image in a format that Pillow knows") from None


def loaded(image: Any) -> Image.Image:
    """The image, decoded in its own mode. It is not closed: the first releases would lose its pixels."""
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"mode {image.mode}: Pillow's convert('RGB') clips it to 8 bits instead of scaling")
    image.load()
    found: Image.Image = image
    return found


def to_rgb(picture: Image.Image) -> Image.Image:
    """The image by Pillow's own conversion, ignoring profiles."""
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def given(picture: Image.Image) -> Made:
    """A picture as `serve.py` returns it."""
    width, height = picture.size
    return height, width, picture.tobytes()


def versions() -> dict[str, str]:
    """Pillow and its codecs, as far as this release reports them."""
    found = {"Pillow": PIL.__version__}
    for name, feature in (
        ("libjpeg-turbo", "libjpeg_turbo"),
        ("zlib", "zlib"),
        ("libwebp", "webp"),
        ("libtiff", "libtiff"),
    ):
        version = _version(feature)
        if version:
            found["Pillow/" + name] = version
    if "Pillow/libjpeg-turbo" not in found:  # old wheels have IJG's libjpeg 9; libjpeg-turbo reports 6.2
        found["Pillow/libjpeg"] = str(getattr(vars(Image)["core"], "jpeglib_version", "unknown"))
    return found


def _filter(name: str) -> Any:
    """Releases before 9.1 have no `Resampling`."""
    return getattr(getattr(Image, "Resampling", Image), name)


def _picture(rows: int, columns: int, pixels: Any) -> Image.Image:
    """Some old releases read only from bytes."""
    size = (columns, rows)
    try:
        return Image.frombuffer("RGB", size, pixels, "raw", "RGB", 0, 1)
    except TypeError:
        return Image.frombytes("RGB", size, bytes(pixels))


def _version(feature: str) -> str | None:
    """Releases before 8 report no codecs."""
    return features.version(feature) if hasattr(features, "version") else None
