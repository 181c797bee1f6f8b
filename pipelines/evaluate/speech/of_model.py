"""A model of speech, and what it needs: spectrograms, noised models and predictions, made where they are lacking.

What can be refused is refused before any is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from generators.audio.settings import MelSettings
from generators.registry import Method
from generators.selection import newest
from generators.variant import Variant, VariantError
from pipelines.errors import UsageError
from pipelines.evaluate.asked import versions_in
from pipelines.evaluate.model.cells import Cell
from pipelines.evaluate.model.noised import DoesNotApplyError, Images, NoisedModels, nodes_changed
from pipelines.evaluate.model.runtimes.onnx import versions
from pipelines.evaluate.options import Options
from pipelines.evaluate.speech.arrays import ZIP
from pipelines.evaluate.speech.asked import asked
from pipelines.evaluate.speech.calibration import calibration
from pipelines.evaluate.speech.given import Scored
from pipelines.evaluate.speech.ids import Ids, read_ids
from pipelines.evaluate.speech.making import SpeechMaker
from pipelines.evaluate.speech.model import SpeechModel
from pipelines.evaluate.speech.predict import Predictor, Recordings
from pipelines.evaluate.speech.results import Against
from pipelines.evaluate.speech.words import joined
from pipelines.options import cpus
from pipelines.progress import say
from pipelines.shards import Shards, open_shards
from pipelines.store import place_of
from pipelines.work.cluster import Ray


class _Found(NamedTuple):
    """The variants to score by name, and why some are not."""

    variants: dict[str, Variant]
    reasons: dict[str, str]


class OfModel:
    """A model, and what it needs of spectrograms, noised models and predictions.

    Raises UsageError for what can be refused before anything is made.
    """

    def __init__(self, options: Options) -> None:
        assert options.model is not None
        self._options = options
        self.path = Path(options.model)
        if not self.path.is_file():
            raise UsageError(f"--model {self.path} is no file: give an ONNX file that takes mels or ids")
        self._maker = self._making()
        self._shards = self._open()
        self._models = NoisedModels(self.path, Path(options.output) / "models" / self.path.stem, self._calibration)
        self._takes = SpeechModel(self._models.as_it_is, self.settings.bands).takes
        if (self._takes.what == "ids") != (options.ids is not None):
            raise UsageError(
                f"{self.path.name} takes {self._takes.main}: give --ids FILE, what it is given of each recording"
                if options.ids is None
                else f"--ids is of use with a model that takes ids, and {self.path.name} takes {self._takes.main}"
            )
        self._found = self._asked()

    @property
    def settings(self) -> MelSettings:
        """The settings of the spectrograms that are there, or will be."""
        return MelSettings(**self._shards.config["mel"]) if self._shards else self._required_maker.settings

    @property
    def against(self) -> Against:
        """A model of ids predicts the same whatever the variant is: what it is for is the variant's spectrograms."""
        return self._options.against or ("variant" if self._takes.what == "ids" else "reference")

    def plan(self) -> str:
        """What would be made and run, in a few lines."""
        lacking = self._lacking()
        models = dict.fromkeys("+".join(m.token for m in variant.model) or "as it is" for variant in self._variants)
        recordings = self._required_maker.images if self._maker else len(self._there.reference.keys())
        root = self._shards.root if self._shards else self._required_maker.root
        lines = [
            f"{self.path.name} on speech, {recordings:,} recordings, in {root}; reference {self._base.name}",
            f"  spectrograms: {', '.join(lacking) or 'none'} to be made",
            f"  models: {', '.join(models)}",
            f"  predictions: {len(self._variants)} variants, compared with the {self.against}'s spectrograms",
            *(f"  does not apply: {names}: {reason}" for names, reason in joined(self._found.reasons)),
        ]
        return "\n".join(lines)

    def scored(self, ray: Ray) -> Scored:
        """Make what is lacking, and predict."""
        if lacking := self._lacking():
            self._required_maker.make(lacking, ray)
            self._shards = open_shards(self._required_maker.root, self._required_maker.methods)
        shards = self._there.with_noise(self._variants)
        cells, reasons = self._cells(shards)
        recordings = Recordings(shards, self._ids)
        predictor = Predictor(recordings, cells[shards.reference.name], self._options.run_by.workers or cpus())
        folder = Path(self._options.output) / "predictions"
        # A model of ids gives the same whatever the spectrograms are: they are predicted once.
        own = {name: cell if self._ids is None else self._of_noise(cells, cell) for name, cell in cells.items()}
        once = {cell.name: cell for cell in own.values()}
        failed = predictor.predict(list(once.values()), folder, versions("cpu"))
        for name, reason in failed.items():
            say(f"not scored: {name}: {reason}")
        reasons |= {name: failed[cell.name] for name, cell in own.items() if cell.name in failed}
        paths = {name: folder / f"{cell.name}{ZIP}" for name, cell in own.items() if cell.name not in failed}
        notes = [f"The model's output {predictor.gives.name} is read as {predictor.gives.described}."]
        return Scored(shards.only(paths), paths, self.against, {**self._found.reasons, **reasons}, notes)

    @property
    def _variants(self) -> list[Variant]:
        """All that are scored, the reference first."""
        return [self._base, *self._found.variants.values()]

    @property
    def _there(self) -> Shards:
        assert self._shards is not None
        return self._shards

    @property
    def _required_maker(self) -> SpeechMaker:
        assert self._maker is not None
        return self._maker

    @cached_property
    def _base(self) -> Variant:
        return self._shards.base if self._shards else self._required_maker.base

    def _making(self) -> SpeechMaker | None:
        """What makes spectrograms: where there is a source, and the built-in recordings where there is nothing yet."""
        options = self._options
        if options.inputs.source is None and options.dataset is None:
            return None
        maker = SpeechMaker(options)
        return None if options.inputs.source is None and maker.finished else maker

    def _open(self) -> Shards | None:
        """The set that is there; None where its reference is still to be made."""
        if self._maker and self._maker.base.name not in self._maker.finished:
            return None
        shards = open_shards(self._maker.root if self._maker else place_of(self._options.shards, "--shards"))
        if self._maker:
            self._maker.check(shards)
        for note in shards.notes:
            say(note)
        return shards

    def _asked(self) -> _Found:
        words = self._options.variants
        known = self._shards.known if self._shards else self._required_maker.known
        if words:
            versions_of = versions_in(self._there) if self._maker is None else newest
            found, named, reasons = asked(words, self._base, known, versions_of)
        elif self._shards is None:
            raise UsageError("what to score? Give --variant, as in --variant stft; see generate.py --list-variants")
        else:
            found, named, reasons = self._all(self._shards), set[str](), dict[str, str]()
        for name, variant in list(found.items()):
            problem = self._problem(variant)
            if problem and name in named:
                raise UsageError(problem)
            if problem:
                if self._maker:
                    say(f"left out: {problem}")
                del found[name]
            elif variant.model and (reason := self._refusal(variant.model)):
                reasons[name] = reason
                del found[name]
        return _Found(found, reasons)

    def _all(self, shards: Shards) -> dict[str, Variant]:
        found = {}
        for name in shards.variants:
            try:
                found[name] = shards.variant(name)
            except VariantError as error:  # of another release
                say(f"left out: {name} ({error})")
        return {name: variant for name, variant in found.items() if variant != self._base}

    def _problem(self, variant: Variant) -> str | None:
        """Why a variant's spectrograms are not there and cannot be made; None if they are or can."""
        if self._shards and variant.pixels in self._shards.variants:
            return None
        if self._maker is None:
            command = self._there.command([variant.pixels])
            return f"--variant {variant.pixels} is not in {self._there.root}; to make it: {command}, or give --source"
        return next((f"{m.token} cannot run here: {why}" for m in variant.methods if (why := m.problem())), None)

    def _refusal(self, methods: Sequence[Method]) -> str | None:
        """Why noise does not apply to the model."""
        try:
            nodes_changed(self.path, methods)
        except DoesNotApplyError as error:
            return str(error)
        return None

    def _lacking(self) -> list[str]:
        """The variants whose spectrograms are still to be made."""
        there = set(self._shards.variants) if self._shards else self._required_maker.finished
        return sorted({variant.pixels for variant in self._variants} - there)

    def _cells(self, shards: Shards) -> tuple[dict[str, Cell], dict[str, str]]:
        """What there is to predict, by variant; and why there is nothing of some."""
        cells, reasons = dict[str, Cell](), dict[str, str]()
        for variant in self._variants:
            try:
                cells[variant.name] = Cell(shards.variants[variant.name], self._models.noised(variant.model))
            except DoesNotApplyError as error:
                reasons[variant.name] = str(error)
                say(f"does not apply: {variant.name}: {error}")
        return cells, reasons

    def _of_noise(self, cells: Mapping[str, Cell], cell: Cell) -> Cell:
        """The cell of the reference with the same noise."""
        reference = self._there.reference
        name = cell.model.name or reference.name
        return cells.get(name) or Cell(
            replace(cell.variant, name=name, folder=reference.folder, summary=reference.summary), cell.model
        )

    @cached_property
    def _ids(self) -> Ids | None:
        given = self._options.ids
        return None if given is None else read_ids(place_of(given, "--ids"), self._there.reference.keys())

    def _calibration(self) -> Images:
        plain = Cell(self._there.reference, self._models.as_it_is)
        return calibration(Recordings(self._there, self._ids), plain, self._takes, self._options.noise.calibration)
