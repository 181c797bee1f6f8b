"""Runs a model over every variant and keeps its predictions, one file a variant.

Classification shards give `<variant>.parquet` (`key`, `top5`: labels 0-999, best first), COCO shards
`<variant>.json` (COCO results, boxes in source pixels). Images are read one batch at a time. Refuses models that do
not suit the shards, and outputs that are no numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from manifests.schema import CLASSIFIED
from pipelines.errors import UsageError
from pipelines.evaluate.model.classes import Classifier
from pipelines.evaluate.model.detector import Detector
from pipelines.evaluate.model.inputs import Image, Inputs, fitting
from pipelines.evaluate.model.kept import Kept, open_kept, origin
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.model.session import Session, version
from pipelines.evaluate.shards import ScoredVariant, Shards, Stored
from pipelines.progress import Advance, counted, say

Outputs = Sequence[NDArray[np.float32]]


class Reader(Protocol):
    """Turns a model's outputs into rows of predictions."""

    def read(self, outputs: Outputs, images: Sequence[Image]) -> Iterator[Any]:
        """The rows of these images."""
        ...

    def write(self, path: Path, rows: Iterator[Any]) -> None:
        """All rows of a variant as a file."""
        ...


def predict(shards: Shards, model: Path, preprocessing: Preprocessing, folder: Path, threads: int | None) -> None:
    """Write a model's predictions for every variant of `shards` into `folder`, but for those that are there.

    Uses `threads` CPUs, all for None. Raises UsageError where the model, its preprocessing, the shards and the folder
    do not belong together, and RunError where shards cannot be read or predictions not be written.
    """
    suffix = _suffix(shards, preprocessing)
    with open_kept(folder, suffix, origin(shards, model, preprocessing, version()), shards) as kept:
        _predict(shards, model, preprocessing, kept, threads)


def _predict(shards: Shards, model: Path, preprocessing: Preprocessing, kept: Kept, threads: int | None) -> None:
    wanted = [variant for variant in shards.variants.values() if not kept.has(variant)]
    if len(wanted) < len(shards.variants):
        say(f"{len(shards.variants) - len(wanted)} of {len(shards.variants)} variants are predicted already")
    if not wanted:
        return
    session = Session(model, preprocessing.layout, threads)
    inputs, reader = _first(shards, session, preprocessing)
    twins = _twins(wanted, kept, shards)
    for name, twin in twins.items():
        say(f"{name} has the pixels of {twin}, and is given its predictions")
    total = sum(_images(variant) for variant in wanted if variant.name not in twins)
    with counted(total, "img", "images predicted") as advance:
        for variant in wanted:
            if variant.name in twins:
                kept.copy(shards.variants[twins[variant.name]], variant)
                continue
            with kept.writing(variant) as path:
                reader.write(path, _rows(shards, variant, session, inputs, reader, preprocessing.batch, advance))


def _suffix(shards: Shards, preprocessing: Preprocessing) -> str:
    """The kind of file that predictions for these shards are."""
    if shards.dataset in CLASSIFIED:
        if preprocessing.head is not None:
            raise UsageError(f'head = "{preprocessing.head}" is for COCO shards, and {shards.root} has classes')
        return Classifier.suffix
    if shards.dataset != "coco":
        raise UsageError(f"--model takes classifiers and detectors, not what {shards.dataset} needs: use --predictions")
    if preprocessing.head is None:
        raise UsageError(
            'a detector needs a head, to read its outputs by: give head = "yolox" or "nanodet"; score others by '
            "--predictions"
        )
    return Detector.suffix


def _first(shards: Shards, session: Session, preprocessing: Preprocessing) -> tuple[Inputs, Reader]:
    """How images go in and outputs come out, settled with the first image before hours of work."""
    stored = next(shards.stored(shards.reference.name), None)
    if stored is None:
        raise UsageError(f"{shards.reference.folder} has no images")
    inputs = fitting(session.input, preprocessing, shards.pixels(stored))
    outputs = session.run([_image(shards, stored, inputs).tensor])
    if preprocessing.head is None:
        return inputs, Classifier(preprocessing, outputs)
    detector = Detector(preprocessing, inputs, outputs)
    say(detector.note)
    return inputs, detector


def _image(shards: Shards, stored: Stored, inputs: Inputs) -> Image:
    return inputs.image(stored.key, shards.info(stored), shards.pixels(stored))


def _images(variant: ScoredVariant) -> int:
    return int(variant.summary["totals"]["samples"])


def _twins(wanted: Sequence[ScoredVariant], kept: Kept, shards: Shards) -> Mapping[str, str]:
    """The variants whose pixels are another's, which is done or comes before them, by name."""
    first = {variant.pixels_sha256: variant.name for variant in shards.variants.values() if kept.has(variant)}
    for variant in wanted:
        first.setdefault(variant.pixels_sha256, variant.name)
    return {v.name: first[v.pixels_sha256] for v in wanted if first[v.pixels_sha256] != v.name}


def _rows(
    shards: Shards,
    variant: ScoredVariant,
    session: Session,
    inputs: Inputs,
    reader: Reader,
    batch: int,
    advance: Advance,
) -> Iterator[Any]:
    """The predictions of a variant. Raises UsageError in the end where outputs were no numbers."""
    images = (_image(shards, stored, inputs) for stored in shards.stored(variant.name))
    broken: list[str] = []
    while some := list(islice(images, batch)):
        outputs = session.run([image.tensor for image in some])
        if any(np.isnan(output).any() for output in outputs):
            broken += _broken(outputs, some)
        else:
            yield from reader.read(outputs, some)
        advance(variant.name, len(some))
    if broken:
        raise UsageError(
            f"the model gives NaN for {len(broken):,} of {_images(variant):,} images of {variant.name} (first: "
            f"{broken[0]}): is its preprocessing right?"
        )


def _broken(outputs: Outputs, images: Sequence[Image]) -> list[str]:
    """The keys of the images whose outputs hold NaN."""
    if len(images) == 1:
        return [images[0].key]
    return [image.key for index, image in enumerate(images) if any(np.isnan(out[index]).any() for out in outputs)]
