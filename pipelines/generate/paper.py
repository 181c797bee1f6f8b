"""The options that `--paper` stands for: the protocol of the SysNoise paper.

That is its geometry, its methods, and its versions of Pillow and OpenCV (Appendix E). The paper does not give FFmpeg's
and DALI's versions: the installed ones are used, as for NumPy.
"""

from __future__ import annotations

from dataclasses import replace

from generators.geometry import CROPPED
from generators.registry import LIBRARIES, UnavailableError
from generators.variant import PAPER, WITH
from manifests.mels import SPOKEN
from pipelines.datasets import DATASETS
from pipelines.errors import UsageError
from pipelines.generate.options import Options
from pipelines.options import Target
from pipelines.progress import say

PILLOW = "6.2.1"
OPENCV = "4.1.1.26"
# The pipeline that the paper's models are trained on.
REFERENCE = f"pil-{PILLOW}+pil_bilinear-{PILLOW}"


def paper(options: Options) -> Options:
    """Replace `--paper` with the options that it stands for.

    Raises UsageError for recordings, whose operators the paper does not name, and if no suitable OpenCV is available.
    """
    if options.dataset in SPOKEN:
        raise UsageError("--paper applies only to images: for recordings use --variant stft, resample, or all")
    return replace(
        options,
        paper=False,
        variants=(group(nearest_opencv()),),
        reference=REFERENCE,
        target=target(options.dataset, options.target),
    )


def group(opencv: str | None) -> str:
    """The paper's methods at its versions, and a version of OpenCV, if any."""
    return WITH.join([PAPER, f"pil-{PILLOW}", *([f"opencv-{opencv}"] if opencv else [])])


def target(dataset: str, given: Target) -> Target:
    """The given size with the paper's geometry: the official generator's for crops, else the dataset's default."""
    geometry = DATASETS[dataset].geometry
    return replace(given, geometry="squash" if geometry in CROPPED else geometry)


def nearest_opencv() -> str:
    """The paper's OpenCV, or the first later version available here, which is reported."""
    try:
        found = LIBRARIES["OpenCV"].nearest(OPENCV)
    except UnavailableError as error:
        raise UsageError(f"--paper needs OpenCV {OPENCV} or a later one: {error}") from None
    if found != OPENCV:
        say(f"OpenCV {OPENCV} is not available here: using {found}")
    return found
