"""Pillow with LittleCMS, any release from 5.0: does the same as `generators/pixels/littlecms.py`."""

from __future__ import annotations

import io
import sys
from typing import Any

from PIL import ImageCms, features

if not features.check("littlecms2"):
    raise ImportError("this build of Pillow has no LittleCMS")

# Next to this program; serve.py, which runs it, loads other programs by path.
_SERVE: Any = sys.modules["__main__"]
_pillow: Any = _SERVE.load("pillow")

_SRGB = ImageCms.createProfile("sRGB")
# By a profile's colour space: the mode to convert images to first, and the modes of the images that it may describe.
_FIT = {
    "RGB": ("RGB", ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX")),
    "GRAY": ("L", ("1", "L", "LA")),
    "CMYK": ("CMYK", ("CMYK",)),
}


def decode(data: memoryview) -> Any:
    """`Image.open(...)`, then `ImageCms.profileToProfile` to sRGB if there is a profile that fits."""
    picture = _pillow.loaded(_pillow.opened(data))
    return _pillow.given(_through_profile(picture) or _pillow.to_rgb(picture))


def versions() -> dict[str, str]:
    """Pillow and its codecs, with LittleCMS, whose version some releases write as 21.0."""
    found: dict[str, str] = _pillow.versions()
    return {**found, "Pillow/littlecms2": str(vars(ImageCms)["core"].littlecms_version)}


def _through_profile(picture: Any) -> Any:
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
