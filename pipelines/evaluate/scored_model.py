"""A model scored on variants of the pixels and of itself: finds out which shards, noised models and predictions are
missing, and makes them.

Compositions are added once it is known which methods are the worst. Anything that exists and is valid is kept, so a run
that was stopped continues.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from generators.boxes import NONE
from generators.registry import Method
from generators.selection import expand, newest
from generators.variant import Variant, VariantError, changed, is_group, parse
from pipelines.errors import UsageError
from pipelines.evaluate.asked import versions_in
from pipelines.evaluate.making import ImageMaker
from pipelines.evaluate.model.calibration import calibration, too_few
from pipelines.evaluate.model.cells import Cell
from pipelines.evaluate.model.geometry import check_geometry, other_reference, overruled
from pipelines.evaluate.model.inputs import fitting
from pipelines.evaluate.model.noised import BOXES_REASON, DoesNotApplyError, Images, NoisedModels, nodes_changed
from pipelines.evaluate.model.predict import predict
from pipelines.evaluate.model.preprocessing import read_preprocessing
from pipelines.evaluate.model.readers import kind_for
from pipelines.evaluate.model.readers.boxes import refusal
from pipelines.evaluate.model.runtimes import open_session
from pipelines.evaluate.model.workers import HERE, OnRay, Workers
from pipelines.evaluate.options import Options
from pipelines.evaluate.results import Unscored
from pipelines.progress import say
from pipelines.shards import Shards, open_shards
from pipelines.store import place_of
from pipelines.work.cluster import Ray


class ScoredModel:
    """A model, the variants that were asked for, and their predictions so far.

    `reasons` says why a variant cannot be scored, by name; `paths` has the predictions of the others; `note` warns if
    the shards' reference is not the model's own; `ray` does the work. Raises UsageError for anything that can be
    refused before shards are made.
    """

    def __init__(self, options: Options) -> None:
        assert options.model is not None
        self._options = options
        self.path = Path(options.model)
        self.preprocessing = overruled(read_preprocessing(self.path, options.preprocessing), options.target)
        made = options.inputs.source is not None or options.dataset == "sample"  # the sample is built in
        self._maker = ImageMaker(options, self.preprocessing) if made else None
        self.root = self._maker.root if self._maker else place_of(options.shards, "--shards")
        self._shards = self._open()
        self.base = self._shards.base if self._shards else self._required_maker().base
        self._methods = self._shards.known if self._shards else self._required_maker().known
        self.note = other_reference(self.preprocessing, self.base)
        self.asked = [variant for variant in self._asked(options.variants) if variant != self.base]
        self.reasons: dict[str, str] = {}
        self.paths: dict[str, Path] = {}
        folder = Path(options.output)
        self.predictions = folder / "predictions"
        self.ray = Ray(options.run_by)
        alone = options.run_by.workers == 1 and not options.cluster.address
        self._workers: Workers = HERE if alone else OnRay(self.ray)
        self._models = NoisedModels(self.path, folder / "models" / self.path.stem, self._calibration)
        self._kind = kind_for(self.dataset, self.preprocessing)
        self._check_model()
        self._refuse()

    def _check_model(self) -> None:
        """Raises UsageError if the model does not load, or does not fit the shards to be made."""
        # The GPU may be on the cluster only.
        device = "cpu" if self._options.cluster.address else self._options.device
        session = open_session(self._models.as_it_is, self.preprocessing.layout, device)
        if self._shards is None:
            pixels = self._required_maker().blank()
            inputs = fitting(session.input, self.preprocessing, pixels, self._kind.detects)
            batch = inputs.batch(1)
            inputs.place("as they would be made", {}, pixels, batch[0])
            if not self._kind.detects:  # a detector's head may need real boxes
                self._kind.reader(self.preprocessing, inputs, session.run(batch))
        calibrated = any(method.calibrated for variant in self.asked for method in variant.model)
        if calibrated and (self._options.noise.calibration or 1) > self.images:
            raise too_few(self._options.noise.calibration, self.images)

    def _refuse(self) -> None:
        """Record a reason for every asked variant whose noise does not apply to the model, without calibrating any."""
        for variant in self.asked:
            try:
                self._check_boxes(variant)
                if variant.model:
                    nodes_changed(self.path, variant.model)
            except DoesNotApplyError as error:
                self.reasons[variant.name] = str(error)

    def _open(self) -> Shards | None:
        """The existing shards; None if the reference is still to be made."""
        if self._maker and self._maker.base.name not in self._maker.finished:
            return None
        shards = open_shards(self.root, self._maker.methods if self._maker else ())
        check_geometry(shards, self.preprocessing)
        if self._maker:
            self._maker.check(shards)
        for note in shards.notes:
            say(note)
        return shards

    def close(self) -> None:
        """Shut down what was started for the work."""
        self.ray.close()

    def _required_maker(self) -> ImageMaker:
        assert self._maker is not None
        return self._maker

    @property
    def existing(self) -> set[str]:
        """The names of the finished variants."""
        return set(self._shards.variants if self._shards else self._required_maker().finished)

    def _asked(self, words: tuple[str, ...]) -> list[Variant]:
        """The variants to score. Raises UsageError for a named variant that neither exists nor can be made."""
        if not words:
            if self._shards is None:
                raise UsageError(
                    "there are no shards yet: give --variant, as in --variant paper; see generate.py --list-variants"
                )
            return list(self._known(self._shards.variants))
        alone = [part for word in words for part in word.split(",") if not is_group(part)]
        try:
            # Existing pixels need neither the GPU nor the custom program that made them; `_problem` checks the rest.
            versions = versions_in(self.everything) if self._maker is None else newest
            expanded = partial(expand, model=True, known=self._methods, versions=versions, runs=False)
            found, _ = expanded(words, self.base)
            named = {variant.name for variant in expanded(alone, self.base)[0]}
        except VariantError as error:
            raise UsageError(f"--variant: {error}") from None
        asked = []
        for variant in found:
            problem = self._problem(variant, named=variant.name in named)
            if problem is None:
                asked.append(variant)
            elif variant.name in named:
                raise UsageError(problem)
            elif self._maker:
                say(f"left out: {problem}")
        return asked

    def _known(self, names: Iterable[str]) -> Iterator[Variant]:
        """The variants with these names; shards of another release may have methods that this one lacks."""
        for name in names:
            try:
                yield parse(name, self.base, self._methods)
            except VariantError as error:
                say(f"left out: {name} ({error})")

    def _problem(self, variant: Variant, *, named: bool = True) -> str | None:
        """Why a variant's pixels neither exist nor can be made; None if they do or can.

        A `named` variant may need a GPU that only the cluster has; the cluster reports if it has none.
        """
        if variant.pixels in self.existing:
            return None
        if self._maker is None:
            assert self._shards is not None
            command = self._shards.command([variant.pixels])
            return f"--variant {variant.pixels} is not in {self.root}; to make it: {command}, or give --source"
        gpu = True if named and self._options.cluster.address else None
        return next((f"{m.token} cannot run here: {why}" for m in variant.methods if (why := m.problem(gpu))), None)

    def can_make(self, name: str) -> bool:
        """Whether a variant without a score can be scored."""
        return name not in self.reasons and self._problem(parse(name, self.base, self._methods)) is None

    # Making what is missing

    def prepare(self) -> None:
        """Make the missing shards of the asked variants. Raises UsageError if some cannot be made."""
        self._make_shards(variant.pixels for variant in self.asked)

    def extend(self, variants: Sequence[Variant]) -> None:
        """Predict these variants too, and the reference; a variant that fails gets its reason in `reasons`."""
        variants = [variant for variant in variants if variant.name not in self.reasons]
        self._make_shards(variant.pixels for variant in variants)
        shards = self.everything.with_noise(variants)
        cells = [cell for variant in (self.base, *variants) if (cell := self._cell(variant, shards))]
        failed = predict(
            shards,
            cells,
            self.preprocessing,
            self.predictions,
            workers=self._workers,
            device=self._options.device,
        )
        self.reasons |= failed
        for name, reason in failed.items():
            say(f"not scored: {name}: {reason}")
        suffix = self._kind.form.suffix
        done = (cell.name for cell in cells if cell.name not in failed)
        self.paths |= {name: self.predictions / f"{name}{suffix}" for name in done}
        self._shards = shards

    @property
    def everything(self) -> Shards:
        """All finished variants, with the noised ones so far."""
        assert self._shards is not None
        return self._shards

    @property
    def wanted(self) -> Shards:
        """The asked variants, by their pixels only."""
        return self.everything.only({variant.pixels for variant in self.asked})

    @property
    def scored(self) -> Shards:
        """The variants with predictions."""
        return self.everything.only(self.paths)

    @property
    def unscored(self) -> Unscored:
        return Unscored(self.reasons, str(self.path))

    def _make_shards(self, names: Iterable[str]) -> None:
        lacking = sorted({self.base.name, *names} - self.existing)
        if not lacking:
            return
        assert self._maker is not None  # otherwise missing variants were refused
        self._maker.make(lacking, self.ray)
        noised = [parse(name, self.base, self._methods) for name in self.paths]
        self._shards = open_shards(self.root, self._maker.methods).with_noise(noised)
        check_geometry(self._shards, self.preprocessing)

    def _calibration(self) -> Images:
        count = self._options.noise.calibration
        return calibration(self.everything, self.path, self.preprocessing, count)

    def _cell(self, variant: Variant, shards: Shards) -> Cell | None:
        """What to predict for a variant; None, with the reason recorded, if its noise does not apply."""
        try:
            boxes = self._check_boxes(variant)
            model = self._models.noised(variant.model)
        except DoesNotApplyError as error:
            self.reasons[variant.name] = str(error)
            say(f"does not apply: {variant.name}: {error}")
            return None
        return Cell(shards.variants[variant.name], model, boxes.load_noise()() if boxes else NONE)

    def _check_boxes(self, variant: Variant) -> Method | None:
        """A variant's box noise. Raises DoesNotApplyError if it is known not to apply."""
        boxes = next((method for method in variant.noise if method.stage == "boxes"), None)
        if boxes and not self._kind.detects:
            raise DoesNotApplyError(BOXES_REASON)
        if boxes and self.preprocessing.head and (reason := refusal(self.preprocessing.head, boxes.load_noise()())):
            raise DoesNotApplyError(reason)
        return boxes

    # What there is to do

    @property
    def dataset(self) -> str:
        if self._maker:
            return self._maker.dataset
        assert self._shards is not None
        return self._shards.dataset

    @property
    def most(self) -> int:
        """The most variants that may be scored, with the compositions that the steps may need."""
        return 1 + len(self.asked) + self.compositions

    @property
    def compositions(self) -> int:
        """The most compositions of n stages: n - 1 in the paper's order, n (n - 1) / 2 candidates worst first."""
        changed = [self._changed(variant) for variant in self.asked if variant.name not in self.reasons]
        stages = len({stages for stages in changed if len(stages) == 1})
        return max(0, stages - 1) + stages * (stages - 1) // 2

    def _changed(self, variant: Variant) -> tuple[str, ...]:
        """The stages at which a variant differs from the reference."""
        return changed(*({**v.spelled_out, **v.noise_spelled_out} for v in (variant, self.base)))

    @property
    def images(self) -> int:
        """How many samples each variant has, or will have."""
        if self._shards is not None:
            return int(self._shards.reference.summary["totals"]["samples"])
        return self._required_maker().images
