"""mIoU over Cityscapes' 19 classes, and the IoU of each class, from label-map PNGs of the shards' size.

Pixels that the ground truth ignores are not counted. One pair of label maps is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.errors import UsageError
from pipelines.evaluate.chance import maps as chance
from pipelines.evaluate.chance.given import Given
from pipelines.evaluate.keys import label_map_paths
from pipelines.evaluate.statistics import Bootstrap, Comparison, paired_bootstrap
from pipelines.evaluate.task import OnShards, Score
from pipelines.generate.sources.cityscapes import IGNORED
from pipelines.shards import Shards
from pipelines.text import first_line

LabelMap = NDArray[np.uint8]

# By train id (cityscapesscripts/helpers/labels.py).
NAMES = (
    *(
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "pole",
        "traffic light",
        "traffic sign",
        "vegetation",
        "terrain",
    ),
    *("sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
CLASSES = len(NAMES)


class _Counts(NamedTuple):
    """Pixels of each class in both, in the prediction, and in the ground truth; int64 of shape (images, 19) each."""

    both: NDArray[np.int64]
    predicted: NDArray[np.int64]
    true: NDArray[np.int64]


class Segmentation(OnShards):
    """Scores folders of label maps against those in the reference's shards."""

    metric = "miou"
    counted = "pixels"

    def __init__(
        self, shards: Shards, reference: Path, bootstrap: Bootstrap, given: Given | None = None, threads: int = 1
    ) -> None:
        self._shards = shards
        self._bootstrap = bootstrap
        self._reference = reference
        self._threads = threads
        self._keys = shards.samples().keys
        if not self._keys:
            raise UsageError(f"no sample in {shards.root} exists in every variant: there is nothing to compare")
        confusion = np.stack(
            [_confusion(truth, predicted) for truth, predicted, _ in self._triples(shards.reference.name, reference)]
        )
        counts = _Counts(confusion.diagonal(axis1=1, axis2=2), confusion.sum(axis=1), confusion.sum(axis=2))
        if not counts.true.any():
            raise UsageError(f"every pixel of the label maps in {shards.root} is ignored: there is nothing to score")
        self._value = float(_miou(counts, np.ones((1, len(self._keys))))[0])
        self._resampled = self._resample(counts)
        self._doubt = chance.doubt(confusion, given or Given())

    @property
    def keys(self) -> list[str]:
        return self._keys

    def score(self, variant: str, path: Path) -> Generator[int, None, Score]:
        counts, lost, gained = [], [], 0
        for truth, predicted, theirs in self._triples(variant, path):
            counts.append(_count(truth, predicted))
            right, was_right = predicted == truth, theirs == truth
            valid = truth != IGNORED
            lost.append(np.count_nonzero(was_right & ~right & valid))
            gained += int(np.count_nonzero(right & ~was_right & valid))
            yield 1
        stacked = _stack(counts)
        classes = _iou(stacked, np.ones((1, len(self._keys))))
        value = float(_mean(classes)[0])
        resampled = self._resample(stacked)
        comparison = paired_bootstrap(self._value - value, self._resampled - resampled)
        by_class = {name: float(iou) for name, iou in zip(NAMES, classes[0], strict=True) if np.isfinite(iou)}
        doubt = self._doubt if variant == self._shards.reference.name else ""
        counted = np.array(lost, np.int64)
        return Score({"miou": value}, comparison, counted, gained, resampled, by_class=by_class, doubt=doubt)

    def between(self, better: Score, worse: Score) -> Comparison:
        return paired_bootstrap(better.figures["miou"] - worse.figures["miou"], better.basis - worse.basis)

    def _resample(self, counts: _Counts) -> NDArray[np.float64]:
        return self._bootstrap.values(lambda weights: _miou(counts, weights), len(self._keys), self._threads)

    def _triples(self, variant: str, folder: Path) -> Iterator[tuple[LabelMap, LabelMap, LabelMap]]:
        """Ground truth, this folder's prediction and the reference's, for each scored sample."""
        keys = set(self._keys)
        base = self._shards.reference
        paths = label_map_paths(folder, self._shards.variants[variant].keys())
        theirs = label_map_paths(self._reference, base.keys())
        for stored in self._shards.stored(base.name, keys):
            if stored.key in keys:
                truth = self._shards.label_map(stored)
                yield truth, _read(paths[stored.key], truth), _read(theirs[stored.key], truth)


def _read(path: Path, truth: LabelMap) -> LabelMap:
    try:
        with Image.open(path) as image:
            classes = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as a label map ({first_line(error)})") from None
    if classes.shape != truth.shape or classes.dtype != np.uint8:
        raise UsageError(
            f"{path} is {classes.dtype} of shape {classes.shape}: a label map must be uint8 with one channel, of the "
            f"shard's shape {truth.shape}"
        )
    outside = np.count_nonzero(classes >= CLASSES)
    if outside:
        raise UsageError(
            f"{path} has {outside:,} pixels outside classes 0–{CLASSES - 1} (first: "
            f"{classes[classes >= CLASSES][0]}): give Cityscapes' 19 train ids, not its label ids"
        )
    return classes


def _confusion(truth: LabelMap, predicted: LabelMap) -> NDArray[np.int64]:
    """The number of pixels by true and predicted class, shape (19, 19), without ignored ones."""
    valid = truth != IGNORED
    pairs = truth[valid].astype(np.int16) * CLASSES + predicted[valid]
    return np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES).astype(np.int64)


def _count(truth: LabelMap, predicted: LabelMap) -> _Counts:
    valid = truth != IGNORED
    truth, predicted = truth[valid], predicted[valid]
    return _Counts(*(np.bincount(kind, minlength=CLASSES) for kind in (truth[truth == predicted], predicted, truth)))


def _stack(counts: list[_Counts]) -> _Counts:
    return _Counts(*(np.stack(kind).astype(np.int64) for kind in zip(*counts, strict=True)))


def _miou(counts: _Counts, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """mIoU for each row of `weights` (resamples, images)."""
    return _mean(_iou(counts, weights))


def _iou(counts: _Counts, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The IoU of pixels summed over images, shape (resamples, 19); NaN for a class that does not occur."""
    both, predicted, true = (weights @ kind for kind in counts)
    union = predicted + true - both
    return np.divide(both, union, out=np.full_like(both, np.nan), where=union > 0)


def _mean(iou: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over the classes that occur; NaN if none does, because every drawn pixel is ignored."""
    occurring = np.count_nonzero(np.isfinite(iou), axis=1)
    mean: NDArray[np.float64] = np.nansum(iou, axis=1) / np.where(occurring, occurring, np.nan)
    return mean
