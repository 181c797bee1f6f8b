"""What images are resized to, from what was asked for and a dataset's defaults; and how that is typed.

Refuses sizes that do not suit the geometry or one another.
"""

from __future__ import annotations

import math

from generators.geometry import CROPPED, GEOMETRIES, Size, before_crop, frame
from pipelines.errors import UsageError
from pipelines.generate.datasets import DATASETS
from pipelines.options import Target


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
