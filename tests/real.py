"""The real photographs on which libraries are compared."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image, JpegImagePlugin

# Of photographs of one kind, every eighth is taken.
_EVERY = 8


def photographs_of(data: Path) -> dict[str, Path]:
    """ImageNet's files, by stem: one of each kind and every eighth, or all of them if SYSNOISE_ALL is set."""
    paths = sorted((data / "imagenet").rglob("*.JPEG"))
    first = {kind(path): path for path in reversed(paths)}
    every = 1 if os.environ.get("SYSNOISE_ALL") else _EVERY
    return {path.stem: path for path in sorted({*first.values(), *paths[::every]})}


def kind(path: Path) -> tuple[object, ...]:
    """What makes a difference to a library: colours, subsampling, scans, profile and orientation."""
    with Image.open(path) as image:
        sampling = JpegImagePlugin.get_sampling(image) if image.format == "JPEG" else None
        orientation = image.getexif().get(0x0112)
        kept = (image.info.get(name) for name in ("progressive", "icc_profile", "adobe_transform"))
        return image.format, image.mode, sampling, orientation, *kept
