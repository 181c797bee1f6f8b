"""The options that several commands share. Imports nothing slow, since --help needs them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from generators.geometry import CROPPED, GEOMETRIES, Size
from pipelines.command import option, positive
from pipelines.datasets import DATASETS, parse_size

# The fields that `--paper` sets.
_OF_PAPER = ("variants", "reference", "geometry")
# How many images int8 is calibrated on by default.
CALIBRATION = 512


def _size(text: str) -> Size:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and up to 1")
    return value


# The datasets with built-in samples, which need no source.
BUILT_IN = ("sample", "speech")
# The libraries whose models are given by name.
NAMED = ("timm", "torchvision")


def is_named(model: str | None) -> bool:
    """Whether a model is given by its name in a library, such as timm:resnet18.a1_in1k."""
    return (model or "").partition(":")[0] in NAMED


def _ray_address(text: str = "") -> str | None:
    return text or os.environ.get("RAY_ADDRESS") or None


def cpus() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Inputs:
    """Where the source is, as the user wrote it."""

    source: str | None = option(
        "a folder, .tar, .parquet or .zip, or a recording; a path or s3://, gs:// URI", metavar="PATH"
    )
    labels: str | None = option("a `name label` list, or the devkit's ground truth", metavar="FILE")
    annotations: str | None = option("COCO-format annotations (with --dataset coco)", metavar="FILE")


@dataclass(frozen=True)
class Target:
    """What images are resized to, and recordings resampled to; None is the dataset's default.

    `size` is the value of `--size`: for a crop, only its side. The shorter side before the crop is `resize` pixels, or
    floor(size / crop_pct) as in timm. `sample_rate`, in Hz, is the only field that applies to recordings.
    """

    geometry: str | None = option(
        "default: crop; coco: keep_ratio; cityscapes: identity", choices=tuple(GEOMETRIES), under="size"
    )
    size: Size | None = option(
        "pixels: N, SHORT,LONG or WxH; default: 224, 800,1333, 640 (letterbox)", type=_size, metavar="N"
    )
    resize: int | None = option(type=positive, metavar="N")
    crop_pct: float | None = option(
        "the side before the centre crop: N, or size / P; default: size * 8/7", type=_share, metavar="P"
    )
    sample_rate: int | None = option("speech, in Hz: 22050 (the default) or 16000", type=positive, metavar="N")

    @classmethod
    def of(cls, geometry: str, size: Size) -> Target:
        """The options that ask for a configuration's geometry and size."""
        if geometry in CROPPED and len(size) == 2:
            return cls(geometry, size[:1], size[1])
        return cls(geometry, size)


@dataclass(frozen=True)
class Cluster:
    """Where the work runs, and on how many CPUs."""

    workers: int | None = option("CPUs to use; default: all", type=positive, metavar="N", under="the run")
    address: str | None = option(
        "a Ray cluster; default: RAY_ADDRESS, or this machine", factory=_ray_address, type=_ray_address
    )


@dataclass(frozen=True)
class Noise:
    """What noise inside a model depends on, besides the model."""

    checkpoint: str | None = option(metavar="FILE")
    preprocessing: str | None = option("default: the library's weights; the model's TOML file", metavar="FILE")
    calibration: int | None = option(
        f"how many of the reference's images int8 is calibrated on; default: {CALIBRATION}", type=positive, metavar="N"
    )


def dataset_option(does: str, default: str | None = None) -> Any:
    """The field of `--dataset`."""
    return option(does, default=default, choices=tuple(DATASETS), under="images")


def paper_option() -> Any:
    """The field of `--paper`."""
    return option("the paper's protocol: its variants, reference, geometry and versions", default=False)


def beside_paper(given: Collection[str]) -> str | None:
    """The mistake of giving `--paper` and a flag that it sets; None if these fields have no such conflict."""
    flag = next((f"--{name.removesuffix('s')}" for name in _OF_PAPER if name in given), None)
    if flag is None or "paper" not in given:
        return None
    return f"--paper sets --variant, --reference and --geometry: leave {flag} out"


def method_option(does: str) -> Any:
    """The field of `--method`, a custom method."""
    return option(f"TOKEN=STAGE:PROGRAM …, {does}", default=(), flag="--method", metavar="METHOD")


def limit_option() -> Any:
    """The field of `--limit`."""
    return option("only the first N of the sorted samples", type=positive, metavar="N")
