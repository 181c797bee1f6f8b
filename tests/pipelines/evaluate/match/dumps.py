"""Dumps of a device in the forms that devices write, made from images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from generators.geometry import frame
from generators.registry import METHODS
from pipelines.evaluate.options import MatchOptions

Images = dict[str, NDArray[Any]]
VARIANTS = ("pil_bilinear", "opencv", "pil_lanczos", "opencv_area", "ffmpeg", "nv12_ascend")
MEAN, STD, SCALE = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1 / 255
TURNED, FLAT, BROKEN = "turned", "flat", "broken"


def write_npy(folder: Path, images: Images) -> Path:
    folder.mkdir(exist_ok=True)
    for key, image in images.items():
        np.save(folder / f"{key}.npy", image)
    return folder


def normalised(image: NDArray[np.uint8], kind: str) -> NDArray[Any]:
    tensor = (image * SCALE - np.array(MEAN)) / np.array(STD)
    batch: NDArray[Any] = tensor.transpose(2, 0, 1)[np.newaxis].astype(kind)
    return batch


def as_png(folder: Path, images: Images) -> MatchOptions:
    folder.mkdir()
    for key, image in images.items():
        Image.fromarray(image).save(folder / f"{key}.png")
    return MatchOptions("", folder)


def as_bgr(folder: Path, images: Images) -> MatchOptions:
    return MatchOptions("", write_npy(folder, {k: i[..., ::-1] for k, i in images.items()}), channels="bgr")


def as_float32(folder: Path, images: Images) -> MatchOptions:
    dump = write_npy(folder, {key: normalised(image, "float32") for key, image in images.items()})
    return MatchOptions("", dump, mean=MEAN, std=STD, scale=SCALE)


def as_float16(folder: Path, images: Images) -> MatchOptions:
    dump = write_npy(folder, {key: normalised(image, "float16") for key, image in images.items()})
    return MatchOptions("", dump, mean=MEAN, std=STD, scale=SCALE)


def as_caffe(folder: Path, images: Images) -> MatchOptions:
    """BGR minus its mean, as (height, width, channels)."""
    mean = (104.0, 117.0, 123.0)
    dump = write_npy(folder, {key: image[..., ::-1] - np.array(mean, np.float32) for key, image in images.items()})
    return MatchOptions("", dump, channels="bgr", mean=mean)


def shown(text: str) -> list[tuple[str, float, int]]:
    """The table's rows: variants, mean and largest difference."""
    pattern = r"^ *\d+  (.+?)  +(?:–|decode|resize|color)[a-z, ]*  +([\d.]+)  +(\d+)  +\d+ of"
    return [(name, float(mean), int(peak)) for name, mean, peak in re.findall(pattern, text, re.MULTILINE)]


def composed(sources: Path, decode: str, resize: str, color: str | None) -> Images:
    """A dump of a device with these methods, made without shards."""
    found: Images = {}
    for path in sources.iterdir():
        if path.stem == BROKEN:
            continue
        image = METHODS[decode].load()(path.read_bytes())
        target = frame("crop", image.shape[1], image.shape[0], (224,))
        assert target.resize
        image = target.cut(METHODS[resize].load()(image, *target.resize))
        found[path.stem] = METHODS[color].load()(image) if color else image
    return found
