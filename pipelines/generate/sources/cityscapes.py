"""Cityscapes validation images with their label maps, in the layout of the official packages.

`leftImg8bit/val/<city>/*_leftImg8bit.png` and `gtFine/val/<city>/*_gtFine_labelIds.png`, below one folder. Label maps
leave as the 19 train ids, everything else as 255.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.errors import UsageError
from pipelines.generate.sources.base import UNKNOWN_LABEL, Listing, Missing, Sample, key_of, some
from pipelines.generate.sources.reading import in_order, read_file, read_files
from pipelines.store import Place

IGNORED = 255
# Train ids 0 to 18 are these label ids, in this order (cityscapesscripts/helpers/labels.py).
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_TRAIN_IDS = np.full(256, IGNORED, np.uint8)
_TRAIN_IDS[list(LABEL_IDS)] = np.arange(len(LABEL_IDS))
_IMAGES, _IMAGE = "leftImg8bit/val", "_leftImg8bit.png"
_MAPS, _LABELS = "gtFine/val", "_gtFine_labelIds.png"


def open_cityscapes(root: Place) -> CityscapesSource:
    """The validation split below `root`. Raises UsageError where it is not there."""
    for folder in (_IMAGES, _MAPS):
        if not (root / folder).is_dir():
            raise UsageError(f"no {folder} in {root}: give the folder that holds leftImg8bit and gtFine")
    return CityscapesSource(root)


@dataclass(frozen=True)
class CityscapesSource:
    """Street scenes with label maps. An image without a label map is a sample that fails."""

    root: Place
    kind: str = "cityscapes"

    def listing(self) -> Listing:
        """The samples, with the sizes of the images."""
        towns = (self.root / _IMAGES).folders()
        samples = list(itertools.chain.from_iterable(in_order(self.root, towns, self._town)))
        if not samples:
            raise UsageError(f"no *{_IMAGE} in {self.root / _IMAGES}")
        unlabelled = [sample.path for sample in samples if not sample.place[1]]
        notes = [f"no label map for {some(unlabelled)}: counted as failed"] if unlabelled else []
        return Listing(samples, notes)

    def _town(self, town: str) -> list[Sample]:
        maps = (self.root / _MAPS / town).files()
        found = []
        for name, size in (self.root / _IMAGES / town).files().items():
            if name.endswith(_IMAGE):
                path, labels = f"{_IMAGES}/{town}/{name}", name.replace(_IMAGE, _LABELS)
                place = path, f"{_MAPS}/{town}/{labels}" if labels in maps else ""
                found.append(Sample(key_of(name), UNKNOWN_LABEL, path, size, place))
        return found

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        """The PNG bytes of the images."""
        return read_files(self.root, samples)

    def label_map(self, sample: Sample) -> NDArray[np.uint8] | Missing:
        """The sample's train ids, uint8 of shape (height, width)."""
        if not sample.place[1]:
            return Missing("source: no label map")
        try:
            with Image.open(io.BytesIO(read_file(self.root / sample.place[1]))) as image:
                if image.mode != "L":
                    return Missing(f"source: the label map is {image.mode}, not 8-bit grayscale")
                trained: NDArray[np.uint8] = _TRAIN_IDS[np.asarray(image)]
                return trained
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            return Missing(f"source: the label map cannot be read ({str(error).partition(' at 0x')[0]})")
