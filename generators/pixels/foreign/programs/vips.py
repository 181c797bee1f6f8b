"""libvips, through pyvips: any release of pyvips-binary, the first of which is 8.15.3.

Images are opened as in its documentation and converted to `srgb`: gray becomes 8-bit RGB with three equal bands, 16-bit
images keep their upper 8 bits, and CMYK goes through its profile or, without one, a built-in profile; RGB images are
left as they are, whatever their profile. A truncated file gives an image whose rest is gray or empty: libvips only
warns by default (`fail_on` none).
"""

from __future__ import annotations

import os
import sys
from typing import Any, Tuple

# One process runs per core, and threads would compete for them. Read only once, when libvips starts.
os.environ["VIPS_CONCURRENCY"] = "1"

import pyvips

# Operations are never repeated, and the cache would keep their images alive.
pyvips.cache_set_max(0)

Given = Tuple[int, int, memoryview]
Made = Tuple[int, int, Any]

_MOST_PIXELS = int(sys.argv[3])  # of serve.py


def decode(data: memoryview) -> Made:
    """`Image.new_from_buffer` and `colourspace("srgb")`; alpha is dropped, EXIF orientation is not applied."""
    return _made(lambda: _rgb(_opened(data)))


def decode_shrunk(data: memoryview, shrink: int) -> Made:
    """As `decode`, with the `shrink` of `jpegload`, which libjpeg applies: sides are rounded down, since libvips cuts
    off incomplete pixels. Other formats are decoded at full size.
    """
    return _made(lambda: _rgb(_opened(data, shrink)))


def resize(image: Given, width: int, height: int, kernel: str) -> Made:
    """`Image.resize` with a kernel and the default gap: if an image shrinks by more than twice the gap, whole pixels
    are averaged first. An image that grows is interpolated instead: bilinear for `linear`, bicubic for the kernels
    after it. It then lies half a pixel of the result further to the top left than in other libraries.
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
    """The pixels of an image, which libvips computes only on demand."""
    pyvips.vips_lib.vips_error_clear()  # so that warnings about an earlier image are not reported for this one
    try:
        image = call()
        return image.height, image.width, image.write_to_memory()
    except pyvips.Error as error:
        raise ValueError((error.detail.strip() or error.message).splitlines()[-1]) from None
