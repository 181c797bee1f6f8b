"""libvips, through pyvips: any release of pyvips-binary, of which the first is 8.15.3.

Images are opened as its documentation shows and brought to `srgb`, which makes 8-bit RGB of gray (three equal bands),
16-bit (the upper 8 bits) and CMYK ones (through their profile, or else one of its own); an RGB image is left as it is,
whatever its profile. A truncated file is an image whose rest is gray or empty: its default (`fail_on` none) is to warn.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Tuple

# A process a core runs, and threads of its own would fight over them. It is read once, when libvips is started.
os.environ["VIPS_CONCURRENCY"] = "1"

import pyvips

# An operation is never asked for twice, and what is kept would keep its image.
pyvips.cache_set_max(0)

Given = Tuple[int, int, memoryview]
Made = Tuple[int, int, Any]

_MOST_PIXELS = int(sys.argv[3])  # of serve.py


def decode(data: memoryview) -> Made:
    """`Image.new_from_buffer` and `colourspace("srgb")`; alpha is dropped, EXIF orientation is not applied."""
    return _made(lambda: _rgb(_opened(data)))


def decode_shrunk(data: memoryview, shrink: int) -> Made:
    """As `decode`, with the `shrink` of `jpegload`, by which libjpeg decodes: sides are rounded down, libvips cutting
    off what is not whole. Of another format, the whole image.
    """
    return _made(lambda: _rgb(_opened(data, shrink)))


def resize(image: Given, width: int, height: int, kernel: str) -> Made:
    """`Image.resize` with one of the kernels, and its default gap: where an image is to shrink by more than twice that,
    whole pixels are averaged first. One that is to grow is interpolated instead, bilinear for `linear`, bicubic for all
    after it, and lies half a pixel of the result further to the top left than other libraries have it.
    """
    rows, columns, pixels = image
    given = pyvips.Image.new_from_memory(pixels, columns, rows, 3, "uchar").copy(interpretation="srgb")
    found = _made(lambda: given.resize(width / columns, vscale=height / rows, kernel=kernel))
    if found[:2] != (height, width):
        raise ValueError(f"resize gives {found[1]}x{found[0]} pixels instead of {width}x{height}")
    return found


def versions() -> dict[str, str]:
    """libvips."""
    return {"libvips": ".".join(str(pyvips.version(part)) for part in range(3))}


def _opened(data: memoryview, shrink: int = 1) -> Any:
    encoded = bytes(data)
    image = pyvips.Image.new_from_buffer(encoded, "", access="sequential")
    if image.width * image.height > _MOST_PIXELS:
        raise ValueError(f"{image.width}x{image.height} pixels are more than {_MOST_PIXELS}")
    if shrink == 1 or image.get("vips-loader") != "jpegload_buffer":
        return image
    return pyvips.Image.new_from_buffer(encoded, "", access="sequential", shrink=shrink)


def _rgb(image: Any) -> Any:
    found = image.colourspace("srgb")
    return found.extract_band(0, n=3) if found.bands > 3 else found


def _made(call: Any) -> Made:
    """The pixels of an image, which libvips makes only when they are asked for."""
    pyvips.vips_lib.vips_error_clear()  # what it has warned of an image before would be told of this one
    try:
        image = call()
        return image.height, image.width, image.write_to_memory()
    except pyvips.Error as error:
        raise ValueError((error.detail.strip() or error.message).splitlines()[-1]) from None
