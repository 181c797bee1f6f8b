"""Scores COCO results files against annotations: mAP, the objects lost and gained, and notes for the user."""

from __future__ import annotations

import filecmp
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from manifests.schema import TABLE
from pipelines.errors import RunError, UsageError
from pipelines.evaluate.chance import boxes as chance
from pipelines.evaluate.chance.given import Given
from pipelines.evaluate.detection.annotations import Annotations, boxes_of, masks_of
from pipelines.evaluate.detection.masks import Place
from pipelines.evaluate.detection.matching import Detections, Matches, match
from pipelines.evaluate.detection.precision import Precision
from pipelines.evaluate.detection.results import Known, Reading, read_results, repeated
from pipelines.evaluate.statistics import Bootstrap, Comparison, paired_bootstrap
from pipelines.evaluate.task import OnShards, Score
from pipelines.generate import frames
from pipelines.generate.frames import Misfit, decoded_size, misfit
from pipelines.shards import FinishedVariant, Shards

# A file looks partial if it lacks detections in more than this share of images, and the file it is compared with has
# some there.
_LACKING = 0.02


class _Evaluated(NamedTuple):
    """An evaluated results file: its matches, mAP, mAP of every resample, the ids of images with detections, and the
    number of duplicate detections.
    """

    matches: Matches
    value: float
    resampled: NDArray[np.float64]
    images: frozenset[int]
    repeated: int


class Detection(OnShards):
    """Scores COCO results files against annotations."""

    metric = "map"
    counted = "objects"

    def __init__(
        self,
        shards: Shards,
        reference: Path,
        annotations: Annotations,
        reading: Reading,
        bootstrap: Bootstrap,
        given: Given | None = None,
        threads: int = 1,
    ) -> None:
        self.iou_type = reading.iou_type
        self._shards = shards
        # Without the objects, which take long to send: all that is needed of them is below.
        self._annotations = annotations._replace(truths=())
        self._keys = list(annotations.ids)
        ids = np.array(list(annotations.ids.values()), np.int64)
        # pycocotools orders images by id, which breaks ties between equal scores.
        self._by_id = np.argsort(ids)
        self._ids: list[int] = ids[self._by_id].tolist()
        self._objects = (boxes_of if reading.iou_type == "bbox" else masks_of)(annotations, self._ids)
        self._reading = reading
        self._bootstrap = bootstrap
        self._reference = reference
        self._threads = threads
        self._misfits = dict[bool, Misfit | None]()
        detections = self._read(shards.reference.name, reference)
        self._theirs = self._evaluated(detections)
        self._doubt = self._doubted(detections, given or Given())

    @property
    def keys(self) -> list[str]:
        return self._keys

    def score(self, variant: str, path: Path) -> Generator[int, None, Score]:
        theirs = self._theirs
        # Variants with the same pixels usually have the same file.
        same = self._reading.boxes == "source" and filecmp.cmp(path, self._reference, shallow=False)
        mine = theirs if same else self._evaluated(self._read(variant, path))
        self._check_complete(path, mine.images)
        comparison = paired_bootstrap(theirs.value - mine.value, theirs.resampled - mine.resampled)
        images, found, was_found = mine.matches.object_image, mine.matches.found, theirs.matches.found
        lost = np.zeros(len(self._ids), np.int64)
        lost[self._by_id] = np.bincount(images[was_found & ~found], minlength=len(self._ids))
        gained = int(np.count_nonzero(found & ~was_found))
        doubt = self._doubt if variant == self._shards.reference.name else ""
        notes = tuple(self._notes(variant, path, mine))
        yield len(self._ids)
        return Score({"map": mine.value}, comparison, lost, gained, mine.resampled, notes, doubt=doubt)

    def between(self, better: Score, worse: Score) -> Comparison:
        return paired_bootstrap(better.figures["map"] - worse.figures["map"], better.basis - worse.basis)

    def _read(self, variant: str, path: Path) -> Detections:
        return read_results(path, self._known(variant), self._reading)

    def _evaluated(self, detections: Detections) -> _Evaluated:
        matches = match(self._objects, detections, len(self._annotations.categories))
        precision, count = Precision(matches.categories, len(self._ids)), len(self._ids)
        resampled = self._bootstrap.values(
            lambda weights: precision.mean(weights[:, self._by_id]), count, self._threads
        )
        value = float(precision.mean(np.ones((1, count)))[0])
        images = frozenset(self._ids[place] for place in np.unique(detections.image))
        return _Evaluated(matches, value, resampled, images, repeated(detections))

    def _doubted(self, detections: Detections, given: Given) -> str:
        value = self._theirs.value
        if value >= chance.LOW:  # saves reading the places of the shards' images
            return ""
        frame = None
        if self.iou_type == "bbox" and not given.model:
            places = self._places(self._shards.reference.name)
            crop, scale = (np.array([getattr(places[n], name) for n in self._ids]) for name in ("crop", "scale"))
            frame = chance.Frame(crop, scale, shard=self._reading.boxes == "shard")
        categories = list(self._annotations.categories)
        scored = chance.Scored(self._objects, detections, categories, len(self._ids), frame)
        return chance.doubt(scored, value, given)

    def _known(self, variant: str) -> Known:
        listed = self._annotations
        places = self._places(variant) if self._reading.boxes == "shard" else {}
        wrong = self._misfit(variant)
        known = Known(listed.images, listed.categories, self._ids, listed.sizes, places)
        if wrong is None:
            return known
        if self._misfit(self._shards.reference.name) == wrong:
            return replace(known, explanation=str(wrong))
        return replace(known, elsewhere=frozenset(listed.ids[key] for key in wrong.keys))

    def _misfit(self, variant: str) -> Misfit | None:
        """The scored images whose size in a variant is not the one that the annotations state; None if all agree."""
        turned = _turns(self._shards.variants[variant])
        if turned not in self._misfits:
            ids, sizes = self._annotations.ids, self._annotations.sizes
            stated = {key: sizes[number] for key, number in ids.items() if number in sizes}
            rows = self._shards.reference.table(*frames.COLUMNS).to_pylist()
            self._misfits[turned] = misfit(rows, stated, turned)
        return self._misfits[turned]

    def _places(self, variant: str) -> Mapping[int, Place]:
        """How each of a variant's images lies in its source, by the image's id."""
        scored = self._shards.variants[variant]
        names = ("width", "height", "scale_x", "scale_y", "crop_x", "crop_y")
        rows = scored.table(*frames.COLUMNS, *names).to_pylist()
        found = {}
        for row in rows:
            if row["key"] in self._annotations.ids:
                size, scale, crop = ((row[one], row[other]) for one, other in zip(names[::2], names[1::2], strict=True))
                source = decoded_size(row, _turns(scored))
                found[self._annotations.ids[row["key"]]] = Place(size, source, scale, crop)
        if not all(place.scale > (0, 0) for place in found.values()):
            raise RunError(f"{scored.folder / TABLE} has a scale of 0 or less: run verify.py")
        return found

    def _check_complete(self, path: Path, images: frozenset[int]) -> None:
        """Raises UsageError if a file's images differ from those of the reference's file: one of the two is partial."""
        theirs, reference = self._theirs.images, self._reference
        for one, other, lacking in ((reference, path, theirs - images), (path, reference, images - theirs)):
            if len(lacking) > max(1, _LACKING * len(self._ids)) and not self._reading.allow_empty:
                raise UsageError(
                    f"{other} has no {self._reading.region} in {len(lacking):,} images in which {one.name} has some "
                    f"(first: image {min(lacking)}): give --allow-empty if it is complete"
                )

    def _notes(self, variant: str, path: Path, mine: _Evaluated) -> Iterator[str]:
        reference = self._shards.reference.name
        wrong = self._misfit(variant)
        if variant == reference:
            yield from self._annotations.notes
            if wrong:
                yield str(wrong)
        elif wrong and wrong != self._misfit(reference):
            yield f"{variant} turns {len(wrong.keys):,} images away from their annotations (first: {wrong.path})"
        empty = len(self._ids) - len(mine.images)
        if empty:
            yield f"{path.name} has no {self._reading.region} in {empty:,} of {len(self._ids):,} images"
        if mine.repeated:
            yield f"{path.name} has {mine.repeated:,} duplicate detections"


def _turns(variant: FinishedVariant) -> bool:
    """Whether a variant's images are turned as their EXIF says."""
    return variant.stages["decode"] == frames.TURNS
