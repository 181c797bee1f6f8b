"""Runs candidates on images, and measures how far their outputs are from the device's.

Pixels are read once for all models that are loaded together. Only distances are kept, and a digest that identifies
candidates with the same outputs. Noised models that fail, or return NaN or infinity, are left out.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import cv2
import numpy as np

from generators.boxes import NONE
from generators.registry import Method
from pipelines.ahead import in_order
from pipelines.errors import RunError, UsageError
from pipelines.evaluate.match.outputs.compare import Answer, Apart, Comparison
from pipelines.evaluate.model.cells import Noised
from pipelines.evaluate.model.inputs import Image, Inputs
from pipelines.evaluate.model.noised import DoesNotApplyError, NoisedModels
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.model.runtimes import Session, open_session
from pipelines.evaluate.model.weights import model_files
from pipelines.progress import Advance, counted
from pipelines.shards import Shards, Stored

# The most bytes of models that are loaded together; a larger model is loaded by itself.
_LOADED = 2**31


@dataclass(frozen=True)
class Candidate:
    """Variants with the same pixels on the compared images, with noise in the model and box noise."""

    pixels: tuple[str, ...]
    model: tuple[Method, ...] = ()
    boxes: Method | None = None

    @property
    def noise(self) -> tuple[Method, ...]:
        """The methods of model and box noise, in order of stages."""
        return (*self.model, self.boxes) if self.boxes else self.model

    def named(self, shards: Shards) -> tuple[str, ...]:
        """Its names as variants, one for each of its pixels."""
        tokens = [method.token for method in self.noise]
        reference = shards.reference.name
        # A composition drops the reference's own token.
        return tuple("+".join([*([] if name == reference and tokens else [name]), *tokens]) for name in self.pixels)

    def stages(self, shards: Shards) -> tuple[str, ...]:
        """The stages at which it differs from the reference, in order; those of its first pixels."""
        return (*shards.changed_stages(self.pixels[0]), *(method.stage for method in self.noise))


class Tried(NamedTuple):
    """How far a candidate is from the device, image by image, and a digest of its outputs."""

    candidate: Candidate
    apart: tuple[Apart, ...]
    digest: bytes

    @property
    def mean(self) -> float:
        return float(np.mean([one.mean for one in self.apart]))

    @property
    def equal(self) -> bool:
        """Whether its outputs equal the device's on all images."""
        return all(one.equal for one in self.apart)


class _Model(NamedTuple):
    """A loaded model, and the candidates that need it, by their pixels."""

    name: str
    session: Session
    candidates: Mapping[tuple[str, ...], Sequence[Candidate]]


_Found = list[tuple[Candidate, str, Answer]]


class Trials:
    """Runs candidates; `reasons` says why noised models could not be run, by name."""

    def __init__(
        self,
        shards: Shards,
        models: NoisedModels,
        inputs: Inputs,
        comparison: Comparison,
        preprocessing: Preprocessing,
        threads: int,
    ) -> None:
        self._shards, self._models, self._inputs = shards, models, inputs
        self.comparison = comparison
        self._preprocessing, self._threads = preprocessing, threads
        self._noised: dict[tuple[Method, ...], Noised] = {}
        self.reasons: dict[str, str] = {}
        cv2.setNumThreads(1)  # every CPU has a thread already

    def applies(self, methods: tuple[Method, ...]) -> bool:
        """Whether this noise applies to the model; makes the noised model if needed, or records the reason."""
        try:
            self._model(methods)
        except (DoesNotApplyError, UsageError) as error:
            self.reasons[name_of(methods)] = str(error)
            return False
        return True

    def measure(
        self, candidates: Iterable[Candidate], keys: Collection[str], theirs: Mapping[str, Answer] | None = None
    ) -> list[Tried]:
        """How far each candidate is from `theirs` (default: the device's answers) on these images.

        Candidates that failed are left out. Raises RunError if pixels cannot be read, and UsageError if the unchanged
        model fails.
        """
        theirs = self.comparison.theirs if theirs is None else theirs
        apart: dict[Candidate, list[Apart]] = defaultdict(list)
        digests: dict[Candidate, Any] = defaultdict(hashlib.sha256)
        for candidate, key, answer in self._answers(list(candidates), keys):
            apart[candidate].append(self.comparison.apart(theirs[key], answer))
            for part in answer:
                digests[candidate].update(np.ascontiguousarray(part).tobytes() + b"/")
        return [Tried(c, tuple(found), digests[c].digest()) for c, found in apart.items() if not self._failed(c)]

    def answers(self, candidate: Candidate, keys: Collection[str]) -> dict[str, Answer]:
        """A candidate's answers for these images."""
        return {key: answer for _, key, answer in self._answers([candidate], keys)}

    def _failed(self, candidate: Candidate) -> bool:
        return name_of(candidate.model) in self.reasons

    def _answers(
        self, candidates: Sequence[Candidate], keys: Collection[str]
    ) -> Iterator[tuple[Candidate, str, Answer]]:
        runs = {(candidate.pixels, candidate.model) for candidate in candidates}
        with counted(len(runs) * len(keys), "img", "images tried") as advance:
            for load in self._loads(candidates):
                models = list(self._opened(load))
                for pixels in dict.fromkeys(candidate.pixels for candidate in load if not self._failed(candidate)):
                    yield from self._through(pixels, [m for m in models if pixels in m.candidates], keys, advance)

    def _through(
        self, pixels: tuple[str, ...], models: Sequence[_Model], keys: Collection[str], advance: Advance
    ) -> Iterator[tuple[Candidate, str, Answer]]:
        """Reads some pixels once, and runs every model that needs them."""

        def work(stored: Sequence[Stored]) -> tuple[int, _Found]:
            batch = self._inputs.batch(len(stored))
            images = [
                self._inputs.place(one.key, self._shards.info(one), self._shards.pixels(one), into)
                for one, into in zip(stored, batch, strict=True)
            ]
            return len(stored), [found for model in models for found in self._run(model, pixels, batch, images)]

        def stop() -> None:
            for model in models:
                model.session.stop()

        count = 0
        groups = _grouped(self._shards.stored(pixels[0], frozenset(keys)), self._preprocessing.batch)
        with contextlib.closing(in_order(work, groups, self._threads, stop)) as results:
            for more, found in results:
                count += more
                advance(pixels[0], more * len(models))
                yield from found
        if count < len(keys):
            raise RunError(f"{self._shards.variants[pixels[0]].folder} lacks images of its manifest: run verify.py")

    def _run(self, model: _Model, pixels: tuple[str, ...], batch: Any, images: Sequence[Image]) -> _Found:
        """A model's answers for a batch, for each of its candidates. Thread-safe."""
        if model.name in self.reasons:
            return []
        candidates = model.candidates[pixels]
        try:
            outputs = model.session.run(batch)
            if not all(np.isfinite(output).all() for output in outputs.values()):
                raise UsageError("its outputs are not all finite numbers")
            noises = [candidate.boxes.load_noise()() if candidate.boxes else NONE for candidate in candidates]
            answers = self.comparison.answers(outputs, images, noises)
        except UsageError as error:
            if not model.name:
                raise
            self.reasons[model.name] = str(error)
            return []
        return [
            (candidate, image.key, answer)
            for candidate, own in zip(candidates, answers, strict=True)
            for image, answer in zip(images, own, strict=True)
        ]

    def _loads(self, candidates: Iterable[Candidate]) -> Iterator[list[Candidate]]:
        """The candidates, split by which models are loaded together."""
        by_model: dict[tuple[Method, ...], list[Candidate]] = defaultdict(list)
        for candidate in candidates:
            by_model[candidate.model].append(candidate)
        load: list[Candidate] = []
        size = 0
        for methods, own in by_model.items():
            more = sum(path.stat().st_size for path in model_files(self._model(methods).path))
            if load and size + more > _LOADED:
                yield load
                load, size = [], 0
            load, size = load + own, size + more
        yield load

    def _model(self, methods: tuple[Method, ...]) -> Noised:
        if methods not in self._noised:
            self._noised[methods] = self._models.noised(methods)
        return self._noised[methods]

    def _opened(self, candidates: Iterable[Candidate]) -> Iterator[_Model]:
        by_model: dict[tuple[Method, ...], dict[tuple[str, ...], list[Candidate]]] = {}
        for candidate in candidates:
            by_model.setdefault(candidate.model, {}).setdefault(candidate.pixels, []).append(candidate)
        for methods, own in by_model.items():
            try:
                session = open_session(self._model(methods), self._preprocessing.layout, "cpu")
                yield _Model(name_of(methods), session, own)
            except UsageError as error:
                if not methods:
                    raise
                self.reasons[name_of(methods)] = str(error)


def name_of(methods: Iterable[Method]) -> str:
    """A name for this noise; empty for none."""
    return "+".join(method.token for method in methods)


def _grouped(stored: Iterator[Stored], size: int) -> Iterator[list[Stored]]:
    while some := list(islice(stored, size)):
        yield some
