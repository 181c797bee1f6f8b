"""`score.py layers`: finds the nodes of a model at which each variant's noise arises.

Refuses box noise, which comes after the model and has no tensors, and models that are not ONNX graphs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from generators.models.graph import ModelError
from generators.models.taps import Tapped
from generators.variant import Variant
from pipelines.errors import UsageError
from pipelines.evaluate.asked import asked_variants
from pipelines.evaluate.layers.answer import Answer, as_csv, terminal
from pipelines.evaluate.layers.measure import measure
from pipelines.evaluate.layers.session import Array
from pipelines.evaluate.model.calibration import batches, by_hash, calibration
from pipelines.evaluate.model.cells import Cell
from pipelines.evaluate.model.geometry import check_geometry
from pipelines.evaluate.model.named import model_file
from pipelines.evaluate.model.noised import DoesNotApplyError, Images, NoisedModels
from pipelines.evaluate.model.preprocessing import Preprocessing, read_preprocessing
from pipelines.evaluate.options import LayersOptions
from pipelines.files import replacing
from pipelines.options import cpus
from pipelines.progress import say
from pipelines.shards import Shards, check_images, open_shards
from pipelines.store import path_of, place_of
from pipelines.style.stages import COMBINED

_IMAGES = 32


def layers(options: LayersOptions) -> int:
    """Measure the variants, write `layers.html` and `layers.csv`, and print the worst nodes; returns exit status 0."""
    shards = open_shards(place_of(options.shards, "--shards"))
    check_images(shards, "score.py layers")
    path_of(options.model, "--model")
    folder = path_of(options.output, "--output") / "models"
    model = model_file(options.model, options.noise.checkpoint, folder)
    preprocessing = read_preprocessing(model, options.preprocessing)
    check_geometry(shards, preprocessing)
    for line in shards.notes:
        say(line)
    variants = _asked(shards, options.variants)
    keys = _drawn(shards, variants, options.images)
    count = options.noise.calibration
    bench = _Bench(model, folder / model.stem, shards.with_noise(variants), preprocessing, count)
    cells = list(bench.cells(variants))
    if not cells:
        raise UsageError("none of the variants applies to the model: there is nothing to measure")
    answers = bench.answers(cells, keys)
    subject = _subject(model, shards, keys)
    notes = [subject, *bench.notes(keys)]
    _write(Path(options.output), answers, notes, model.stem)
    print("\n\n".join(["\n".join(notes), *map(terminal, answers), f"Report: {Path(options.output) / 'layers.html'}"]))
    return 0


def _asked(shards: Shards, words: Sequence[str]) -> list[Variant]:
    """The variants to measure. Raises UsageError for a named one that is box noise, or if none is left."""
    asked, named = asked_variants(shards, words)
    found = []
    for variant in asked:
        boxes = any(method.stage == "boxes" for method in variant.noise)
        if boxes and variant in named:
            raise UsageError(
                f"--variant {variant.name}: box noise comes after the model and has no tensors: leave it out"
            )
        if not boxes and variant != shards.base and variant.pixels in shards.variants:
            found.append(variant)
    if not found:
        raise UsageError("--variant names nothing that differs from the reference here: give another, such as int8")
    return found


class _Bench:
    """A model with its shards and its noised copies."""

    def __init__(
        self, model: Path, folder: Path, shards: Shards, preprocessing: Preprocessing, calibrated_on: int | None
    ) -> None:
        self._model, self._shards, self._preprocessing = model, shards, preprocessing
        self._count = calibrated_on
        self._models = NoisedModels(model, folder, self._calibration)
        self._calibrated: frozenset[str] = frozenset()

    def cells(self, variants: Sequence[Variant]) -> Iterator[Cell]:
        """A cell for each variant whose noise applies to the model; noised models are made."""
        for variant in variants:
            try:
                yield Cell(self._shards.variants[variant.name], self._models.noised(variant.model))
            except DoesNotApplyError as error:
                say(f"does not apply: {variant.name}: {error}")

    def answers(self, cells: Sequence[Cell], keys: Sequence[str]) -> list[Answer]:
        """The cells' tensors against the reference's on these images."""

        def read(variant: str) -> Iterator[Array]:
            return batches(self._shards, variant, frozenset(keys), self._model, self._preprocessing)

        reference = self._models.as_it_is
        pixels = self._shards.reference.name
        count = math.ceil(len(keys) / self._preprocessing.batch)
        found = measure(reference, pixels, cells, read, count, cpus())
        try:
            outputs = Tapped(self._model).outputs
        except ModelError as error:
            raise UsageError(str(error)) from None
        return [Answer(cell.name, self._stage(cell.name), own, outputs) for cell, own in zip(cells, found, strict=True)]

    def _stage(self, variant: str) -> str:
        stages = self._shards.changed_stages(variant)
        return stages[0] if len(stages) == 1 else COMBINED

    def notes(self, keys: Sequence[str]) -> Iterator[str]:
        """Notes on the images for the user."""
        both = len(self._calibrated.intersection(keys))
        if both:
            yield f"{both:,} of the images also calibrated int8: on others, ratios may be worse."

    def _calibration(self) -> Images:
        images = calibration(self._shards, self._model, self._preprocessing, self._count)
        self._calibrated = frozenset(image["key"] for image in images.facts["images"])
        return images


def _drawn(shards: Shards, variants: Sequence[Variant], count: int | None) -> list[str]:
    """The images to measure on: the last by hash, since the first are for calibration."""
    shared = shards.only({variant.pixels for variant in variants}).samples().keys
    if len(shared) < (count or 1):
        raise UsageError(f"--images {count or 1} is more than the {len(shared):,} that these variants share")
    return sorted(by_hash(shared)[-(count or _IMAGES) :])


def _subject(model: Path, shards: Shards, keys: Sequence[str]) -> str:
    count = shards.reference.summary["totals"]["samples"]
    return (
        f"{model.name} on {len(keys):,} of {count:,} images of {shards.dataset}, against itself on "
        f"{shards.reference.name}; signal-to-noise ratios in decibels."
    )


def _write(output: Path, answers: Sequence[Answer], notes: Sequence[str], model: str) -> None:
    from pipelines.evaluate.layers.page import page  # imports matplotlib, which is slow

    files = {"layers.html": page(model, answers, notes), "layers.csv": as_csv(answers)}
    for name, content in files.items():
        with replacing(output / name) as path:
            path.write_text(content, encoding="utf-8")
