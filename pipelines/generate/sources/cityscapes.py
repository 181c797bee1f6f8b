"""Cityscapes validation images with their label maps, in the layout of the official packages.

`leftImg8bit/val/<city>/*_leftImg8bit.png` and `gtFine/val/<city>/*_gtFine_labelIds.png`, below one folder. Label maps
leave as the 19 train ids, everything else as 255.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.errors import UsageError
from pipelines.generate.sources.base import (
    UNKNOWN_LABEL,
    Listing,
    Missing,
    Sample,
    key_of,
    read_file,
    read_sample,
    some,
)

IGNORED = 255
# Train ids 0 to 18 are these label ids, in this order (cityscapesscripts/helpers/labels.py).
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_TRAIN_IDS = np.full(256, IGNORED, np.uint8)
_TRAIN_IDS[list(LABEL_IDS)] = np.arange(len(LABEL_IDS))
_IMAGE, _LABELS = "_leftImg8bit.png", "_gtFine_labelIds.png"


def open_cityscapes(path: Path) -> CityscapesSource:
    """The validation split below `path`. Raises UsageError where it is not there."""
    for folder in ("leftImg8bit/val", "gtFine/val"):
        if not (path / folder).is_dir():
            raise UsageError(f"no {folder} in {path}: give the folder that holds leftImg8bit and gtFine")
    return CityscapesSource(str(path))


@dataclass(frozen=True)
class CityscapesSource:
    """Street scenes with label maps. An image without a label map is a sample that fails."""

    root: str
    kind: str = "cityscapes"

    def listing(self) -> Listing:
        """The samples, with the sizes of the images."""
        root = Path(self.root)
        images = sorted(path for path in root.glob(f"leftImg8bit/val/*/*{_IMAGE}") if path.is_file())
        if not images:
            raise UsageError(f"no *{_IMAGE} in {root / 'leftImg8bit/val'}")
        samples = [
            Sample(
                key_of(path.name),
                UNKNOWN_LABEL,
                path.relative_to(root).as_posix(),
                path.stat().st_size,
                (str(path), _label_path(root, path)),
            )
            for path in images
        ]
        unlabelled = [sample.path for sample in samples if not sample.place[1]]
        notes = [f"no label map for {some(unlabelled)}: counted as failed"] if unlabelled else []
        return Listing(samples, notes)

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        """The PNG bytes of the images."""
        return map(read_sample, samples)

    def label_map(self, sample: Sample) -> NDArray[np.uint8] | Missing:
        """The sample's train ids, uint8 of shape (height, width)."""
        if not sample.place[1]:
            return Missing("source: no label map")
        data = read_file(sample.place[1])
        if isinstance(data, Missing):
            return data
        try:
            with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
                if image.mode != "L":
                    return Missing(f"source: the label map is {image.mode}, not 8-bit grayscale")
                trained: NDArray[np.uint8] = _TRAIN_IDS[np.asarray(image)]
                return trained
        except Exception as error:  # damaged bytes can raise anything
            return Missing(f"source: the label map cannot be read ({str(error).partition(' at 0x')[0]})")


def _label_path(root: Path, image: Path) -> str:
    path = root / "gtFine" / "val" / image.parent.name / image.name.replace(_IMAGE, _LABELS)
    return str(path) if path.is_file() else ""
