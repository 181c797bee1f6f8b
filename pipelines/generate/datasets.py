"""What differs from dataset to dataset: the task, the usual geometry and size, and how many samples make a shard."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from generators.geometry import CROPPED, GEOMETRIES, Size, before_crop, frame
from pipelines.errors import UsageError

if TYPE_CHECKING:  # its fields have choices from here
    from pipelines.options import Target


@dataclass(frozen=True)
class Dataset:
    """A dataset's defaults. `typical` is an ordinary image's width and height in pixels, for estimates.

    `samples_per_shard` makes shards of 0.1 GB for 224x224 crops and of 0.5 to 1 GB for whole images.
    """

    geometry: str
    samples_per_shard: int
    typical: tuple[int, int]
    sizes: Mapping[str, Size] = field(default_factory=dict)

    def size(self, geometry: str) -> Size:
        """The size that a geometry has by default."""
        return self.sizes.get(geometry) or _SIZES[geometry]


_SIZES: Mapping[str, Size] = MappingProxyType(
    {
        "crop": (224,),
        "squash": (224,),
        "stretch": (224,),
        # mmdetection's and United-Perception's size for COCO; the paper's for detection.
        "keep_ratio": (800, 1333),
        "letterbox": (640,),  # Ultralytics' default `imgsz`
        "identity": (),
    }
)

DATASETS: Mapping[str, Dataset] = MappingProxyType(
    {
        "sample": Dataset("crop", 1000, (500, 400)),
        "imagenet": Dataset("crop", 1000, (500, 375)),
        "coco": Dataset("keep_ratio", 400, (640, 480), {"stretch": (640,)}),
        "cityscapes": Dataset("identity", 200, (2048, 1024)),
    }
)


def parse_size(text: str) -> Size:
    """`224`, `800,1333` or `1024x512` as numbers. Raises ValueError for anything else."""
    parts = text.replace("x", ",").split(",")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"{text!r} is no size: give N, SHORT,LONG or WxH in pixels")
    return tuple(map(int, parts))


def choose_geometry(dataset: str, target: Target) -> tuple[str, Size]:
    """The geometry and size of a run, from what was asked for and the dataset's defaults.

    Raises UsageError where the sizes do not suit the geometry or one another, or are too large for an ordinary image.
    """
    defaults = DATASETS[dataset]
    name = target.geometry
    if name is None:
        name = "stretch" if target.size and defaults.geometry == "identity" else defaults.geometry
    size = defaults.size(name) if target.size is None else target.size
    if len(size) not in GEOMETRIES[name].values or (name in CROPPED and len(size) > 1):
        raise UsageError(f"--size {_joined(size)} does not suit {name}, which takes {GEOMETRIES[name].usage}")
    if before := _before(name, size, target):
        size = (*size, before)
    try:
        frame(name, *defaults.typical, size)
    except ValueError as error:
        raise UsageError(f"{' '.join(words(name, size)[2:])} is too large: {error}") from None
    return name, size


def words(geometry: str, size: Size) -> list[str]:
    """What is typed for a geometry and its size: `--geometry crop --size 224 --resize 235`."""
    if geometry in CROPPED and len(size) == 2:
        return ["--geometry", geometry, "--size", str(size[0]), "--resize", str(size[1])]
    return ["--geometry", geometry, *(["--size", _joined(size)] if size else [])]


def _joined(size: Size) -> str:
    return ",".join(map(str, size))


def _before(geometry: str, size: Size, target: Target) -> int | None:
    """The side before the crop, where one was asked for that is not the usual one."""
    if target.resize is None and target.crop_pct is None:
        return None
    flag = "--crop-pct" if target.resize is None else "--resize"
    if geometry not in CROPPED:
        raise UsageError(f"{flag} is of use with the geometries crop and squash, and not with {geometry}: leave it out")
    if target.resize is not None and target.crop_pct is not None:
        raise UsageError("--resize and --crop-pct both say what is before the crop: give one of them")
    (side,) = size
    # timm.data.transforms_factory: `math.floor(x / crop_pct)`
    before = math.floor(side / target.crop_pct) if target.crop_pct is not None else target.resize
    assert before is not None
    if before < side:
        raise UsageError(f"--resize {before} is less than --size {side}, which is cut out of it")
    return None if before == before_crop(side) else before
