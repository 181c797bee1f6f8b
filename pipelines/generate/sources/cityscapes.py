"""Cityscapes validation images with their label maps, in the layout of the official packages.

`leftImg8bit/val/<city>/*_leftImg8bit.png` and `gtFine/val/<city>/*_gtFine_labelIds.png`, in one folder. An image
without the latter may have `*_gtFine_labelTrainIds.png`, made by cityscapesscripts. Label maps are converted to the 19
train ids, with 255 for everything else.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.errors import UsageError
from pipelines.generate.sources.base import (
    BROKEN,
    UNKNOWN_LABEL,
    Listing,
    Missing,
    Names,
    Sample,
    is_litter,
    key_of,
    some,
)
from pipelines.generate.sources.pointers import POINTER, is_pointer
from pipelines.generate.sources.reading import in_order, read_file, read_files
from pipelines.store import Place

IGNORED = 255
# Train ids 0 to 18 are these label ids, in this order (cityscapesscripts/helpers/labels.py).
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_TRAIN_IDS = np.full(256, IGNORED, np.uint8)
_TRAIN_IDS[list(LABEL_IDS)] = np.arange(len(LABEL_IDS))
_IMAGES, _IMAGE = "leftImg8bit/val", "_leftImg8bit.png"
_MAPS, _LABELS, _TRAINED = "gtFine/val", "_gtFine_labelIds.png", "_gtFine_labelTrainIds.png"


def open_cityscapes(root: Place) -> CityscapesSource:
    """The validation split in `root`. Raises UsageError if it is not there."""
    for folder in (_IMAGES, _MAPS):
        if not (root / folder).is_dir():
            raise UsageError(f"no {folder} in {root}: give the folder that has leftImg8bit and gtFine")
    return CityscapesSource(root)


@dataclass(frozen=True)
class CityscapesSource:
    """Street scenes with label maps. An image without a label map is a sample that fails."""

    root: Place
    kind: str = "cityscapes"

    def listing(self) -> Listing:
        """The samples, with the sizes of the images."""
        notes: list[str] = []
        return Listing(some(self._samples(notes), f"no *{_IMAGE} in {self.root / _IMAGES}"), notes)

    def _samples(self, notes: list[str]) -> Iterator[Sample]:
        unlabelled = Names()
        for town in in_order(self.root, (self.root / _IMAGES).folders(), self._town):
            for sample in town:
                if not sample.place[1]:
                    unlabelled.add(sample.path)
                yield sample
        if unlabelled:
            notes.append(f"no label map for {unlabelled}: counted as failed")

    def _town(self, town: str) -> list[Sample]:
        maps = (self.root / _MAPS / town).files()
        found = []
        inside = (self.root / _IMAGES / town).contents()
        for name, size in (*inside.files.items(), *((link, 0) for link in inside.broken)):
            if name.endswith(_IMAGE) and not is_litter(name):
                path = f"{_IMAGES}/{town}/{name}"
                labels = (name.replace(_IMAGE, suffix) for suffix in (_LABELS, _TRAINED))
                image = path if name in inside.files else BROKEN[0]
                place = image, next((f"{_MAPS}/{town}/{each}" for each in labels if each in maps), "")
                found.append(Sample(key_of(name), UNKNOWN_LABEL, path, size, place))
        return found

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        """The PNG bytes of the images."""
        return read_files(self.root, samples)

    def label_map(self, sample: Sample) -> NDArray[np.uint8] | Missing:
        """The sample's train ids, uint8 of shape (height, width)."""
        if not sample.place[1]:
            return Missing("source: no label map")
        data = read_file(self.root / sample.place[1])
        if isinstance(data, Missing):
            return data
        if is_pointer(data):
            return POINTER
        try:
            with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
                if image.mode != "L":
                    return Missing(f"source: the label map is {image.mode}, not 8-bit grayscale")
                ids: NDArray[np.uint8] = np.asarray(image)
        except Exception as error:  # damaged bytes can raise anything
            return Missing(f"source: the label map cannot be read ({str(error).partition(' at 0x')[0]})")
        if not sample.place[1].endswith(_TRAINED):
            trained: NDArray[np.uint8] = _TRAIN_IDS[ids]
            return trained
        strange = ids[(ids >= len(LABEL_IDS)) & (ids != IGNORED)]
        if strange.size:
            return Missing(f"source: the label map holds {strange[0]}, which is no train id (0 to 18, 255)")
        return ids
