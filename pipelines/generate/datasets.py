"""How datasets differ: the task, the default geometry and size, and the number of samples in a shard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from generators.geometry import Size


@dataclass(frozen=True)
class Dataset:
    """A dataset's defaults.

    `typical` is an ordinary image's width and height in pixels, for estimates; recordings have neither that nor a
    geometry. `noun` and `unit` are the names of its samples. `samples_per_shard` makes shards of 0.1 GB for 224x224
    crops and of 0.5 to 1 GB for whole images.
    """

    geometry: str
    samples_per_shard: int
    typical: tuple[int, int] = (0, 0)
    sizes: Mapping[str, Size] = field(default_factory=dict)
    noun: str = "images"
    unit: str = "img"

    def size(self, geometry: str) -> Size:
        """The default size for a geometry."""
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
        "speech": Dataset("", 1000, noun="recordings", unit="rec"),
    }
)


def parse_size(text: str) -> Size:
    """Parse `224`, `800,1333` or `1024x512`. Raises ValueError for anything else."""
    parts = text.replace("x", ",").split(",")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"{text!r} is not a size: give N, SHORT,LONG or WxH in pixels")
    return tuple(map(int, parts))
