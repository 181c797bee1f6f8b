"""Chooses geometry and size of images, or the sample rate of recordings, from options and a dataset's defaults.

Refuses sizes that do not suit the geometry or one another, and options for recordings with images or the reverse.
"""

from __future__ import annotations

import math
from dataclasses import fields

from generators.audio.settings import MelSettings
from generators.geometry import CROPPED, GEOMETRIES, Size, before_crop, frame
from pipelines.datasets import DATASETS
from pipelines.errors import UsageError
from pipelines.options import Target

# Hz: the rate of LJSpeech, Tacotron 2 and FastSpeech 2 (generators/audio/settings.py).
_RATE = 22_050


def choose_geometry(dataset: str, target: Target) -> tuple[str, Size]:
    """The geometry and size of a run, from the options and the dataset's defaults.

    Raises UsageError if the sizes do not suit the geometry or one another, or are too large for an ordinary image.
    """
    if target.sample_rate is not None:
        raise UsageError(f"--sample-rate applies only to --dataset speech, not to {dataset}: leave it out")
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


def choose_mel(target: Target) -> MelSettings:
    """The settings of a run's spectrograms. Raises UsageError for a rate without settings, and options for images."""
    for field in fields(target):
        if field.name != "sample_rate" and getattr(target, field.name) is not None:
            raise UsageError(
                f"--{field.name.replace('_', '-')} applies only to images: leave it out with --dataset speech"
            )
    try:
        return MelSettings.of(_RATE if target.sample_rate is None else target.sample_rate)
    except ValueError as error:
        raise UsageError(f"--sample-rate {target.sample_rate}: {error}") from None


def words(geometry: str, size: Size) -> list[str]:
    """The command-line words for a geometry and its size: `--geometry crop --size 224 --resize 235`."""
    if geometry in CROPPED and len(size) == 2:
        return ["--geometry", geometry, "--size", str(size[0]), "--resize", str(size[1])]
    return ["--geometry", geometry, *(["--size", _joined(size)] if size else [])]


def _joined(size: Size) -> str:
    return ",".join(map(str, size))


def _before(geometry: str, size: Size, target: Target) -> int | None:
    """The side before the crop, if one was given that is not the default."""
    if target.resize is None and target.crop_pct is None:
        return None
    flag = "--crop-pct" if target.resize is None else "--resize"
    if geometry not in CROPPED:
        raise UsageError(f"{flag} applies only to the geometries crop and squash, not to {geometry}: leave it out")
    if target.resize is not None and target.crop_pct is not None:
        raise UsageError("--resize and --crop-pct both set the size before the crop: give only one of them")
    (side,) = size
    # timm.data.transforms_factory: `math.floor(x / crop_pct)`
    before = math.floor(side / target.crop_pct) if target.crop_pct is not None else target.resize
    assert before is not None
    if before < side:
        raise UsageError(f"--resize {before} is less than --size {side}, which is cut out of it")
    return None if before == before_crop(side) else before
