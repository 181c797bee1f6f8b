"""Decoding to sRGB: Pillow, with LittleCMS through its ImageCms for files with an embedded ICC profile.

Other decoders ignore profiles, and browsers apply them: between them lies the whole difference between a wide gamut and
sRGB.
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
# By a profile's colour space: the mode to convert images to first, and the modes of the images that it may describe.
_FIT = {
    "RGB": ("RGB", ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX")),
    "GRAY": ("L", ("1", "L", "LA")),
    "CMYK": ("CMYK", ("CMYK",)),
}


def decode(data: bytes) -> NDArray[np.uint8]:
    """`Image.open(...)`, then `ImageCms.profileToProfile` from the embedded profile to LittleCMS's own sRGB.

    Uses the defaults: perceptual intent and no flags, so no black point compensation. CMYK goes through its own
    profile; gray with an RGB profile becomes three equal channels first; alpha is dropped. As in browsers, a profile
    that is damaged or for another kind of image (gray in an RGB file, RGB in a CMYK file) is ignored: the pixels are
    then those of `pil`, as they are without a profile. PNG's gAMA and cHRM do not count as a profile.
    """
    picture = pillow.loaded(pillow.opened(data))
    return pillow.pixels_of(_through_profile(picture) or pillow.to_rgb(picture))


def _through_profile(picture: Image.Image) -> Image.Image | None:
    """The picture in sRGB; None if it has no profile that can be applied to it."""
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
    except (OSError, UnicodeDecodeError, ImageCms.PyCMSError):  # the second for a colour space that is not ASCII
        return None


def versions() -> dict[str, str]:
    """Pillow and its codecs, with LittleCMS."""
    return {**pillow.versions(), "Pillow/littlecms2": str(features.version("littlecms2"))}
