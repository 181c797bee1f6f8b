"""Decoding to sRGB: Pillow, and LittleCMS through its ImageCms where a file has an ICC profile embedded.

Other decoders ignore profiles. Browsers apply them, and what one ignores and the other applies is the whole difference
between a wide gamut and sRGB.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, features

from generators.pixels import pillow

if not features.check("littlecms2"):
    raise ImportError("this build of Pillow has no LittleCMS")

_SRGB = ImageCms.createProfile("sRGB")
# By a profile's colour space: the modes of the images that it may describe, and what they are converted to first.
_FIT = {
    "RGB": ("RGB", ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX")),
    "GRAY": ("L", ("1", "L", "LA")),
    "CMYK": ("CMYK", ("CMYK",)),
}


def decode(data: bytes) -> NDArray[np.uint8]:
    """`Image.open(...)`, then `ImageCms.profileToProfile` from the embedded profile to LittleCMS's own sRGB.

    Perceptual intent and no flags, its defaults: no compensation of black points. CMYK goes through its own profile;
    gray with a profile for RGB is three equal channels first, and alpha is dropped. As in browsers, a profile that is
    damaged, or is for another kind of image (gray in an RGB file, RGB in a CMYK file), is ignored: the pixels are those
    of `pil` then, as they are without one. PNG's gAMA and cHRM are no profile.
    """
    picture = pillow.loaded(pillow.opened(data))
    return pillow.pixels_of(_through_profile(picture) or pillow.to_rgb(picture))


def _through_profile(picture: Image.Image) -> Image.Image | None:
    """The picture in sRGB; None where it has no profile that can be applied to it."""
    embedded = picture.info.get("icc_profile")
    if not isinstance(embedded, bytes):
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(embedded))
        mode, modes = _FIT.get(profile.profile.xcolor_space.strip(), ("", ()))
        if picture.mode not in modes:
            return None
        given = picture if picture.mode == mode else picture.convert(mode)
        return ImageCms.profileToProfile(given, profile, _SRGB, outputMode="RGB")
    except (OSError, ImageCms.PyCMSError, UnicodeDecodeError):  # the last of a colour space that is no ASCII
        return None


def versions() -> dict[str, str]:
    """Pillow and its codecs, with LittleCMS."""
    return {**pillow.versions(), "Pillow/littlecms2": str(features.version("littlecms2"))}
