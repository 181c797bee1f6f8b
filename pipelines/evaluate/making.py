"""Makes the shards that a scoring lacks from `--source`, as `generate.py` makes them.

New variants take the geometry and size, or the sample rate, the reference and the format of existing ones. Refuses a
command line that asks for others, and a folder that does not say which dataset its shards would be.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generators.draw import TOKENS, mixes_here, seed_in
from generators.geometry import frame
from generators.own import with_own
from generators.registry import Method
from generators.variant import DEFAULT_REFERENCE, Variant
from manifests.mels import SPOKEN
from manifests.splits import split_of
from manifests.verify import variant_folders
from pipelines.datasets import DATASETS
from pipelines.errors import UsageError
from pipelines.evaluate.model.geometry import target_like, wanted_geometry
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.options import Options
from pipelines.generate.card import read_summaries
from pipelines.generate.config import base_variant, describe, methods_of, size_from_json
from pipelines.generate.options import Options as Generate
from pipelines.generate.run import make
from pipelines.generate.sources.find import Found, find
from pipelines.generate.target import choose_geometry, words
from pipelines.options import Target
from pipelines.page.write import write_page
from pipelines.progress import say
from pipelines.shards import Shards, dataset_in
from pipelines.store import Place, place_of
from pipelines.work.cluster import Ray


class Maker(ABC):
    """Makes variants in the folder of `--shards`. Raises UsageError if its dataset is unclear."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.dataset, self.root = dataset_at(options)
        there = {summary["name"]: summary for summary in read_summaries(self.root)}
        self.finished = frozenset(there)
        self._there: Mapping[str, Any] = next((summary["config"] for summary in there.values()), {})
        self._seed = next(filter(None, (seed_in(one["provenance"]["libraries"]) for one in there.values())), 0)
        self.methods = (*methods_of(options.methods), *mixes_here(options.variants, self._seed))

    @property
    def known(self) -> Mapping[str, Method]:
        """All methods that shards can be made with, by token."""
        return with_own(self.methods)

    @property
    @abstractmethod
    def base(self) -> Variant:
        """The reference of the shards that are made."""

    @property
    @abstractmethod
    def _target(self) -> Target:
        """The geometry and size, or the sample rate, of the variants to make."""

    @property
    @abstractmethod
    def _reference(self) -> str:
        """The reference of the variants to make, as generate.py takes it."""

    @abstractmethod
    def _check_target(self, shards: Shards) -> None:
        """Raises UsageError if existing shards have another geometry, or sample rate, than is asked for."""

    @abstractmethod
    def _asked_reference(self, text: str, shards: Shards) -> Variant:
        """The variant that `--reference` stands for next to these shards."""

    def check(self, shards: Shards) -> None:
        """Raises UsageError if existing shards have other samples, or were made in another way, than is asked for."""
        self._check_target(shards)
        if (reference := self._options.reference) and self._asked_reference(reference, shards) != shards.base:
            raise UsageError(
                f"{shards.root} has shards whose reference is {shards.config['reference']}, and --reference asks for "
                "another: leave it out, or give --shards another folder"
            )
        source = dict(describe(self._found))
        expected = shards.config["source"]
        if source != expected:
            raise UsageError(
                f"{shards.root} has shards of {expected.get('samples', 0):,} {self._noun}, and --source has others "
                f"({source['samples']:,}; names, labels or sizes differ): give --shards another folder"
            )

    @cached_property
    def _found(self) -> Found:
        return find(self.dataset, self._options.inputs, self._options.limit, split=split_of(self._there))

    @property
    def _noun(self) -> str:
        return DATASETS[self.dataset].noun

    @property
    def images(self) -> int:
        """How many samples each variant will have."""
        return len(self._found.samples)

    def make(self, names: Sequence[str], ray: Ray) -> None:
        """Make these variants and the reference, as far as they are missing."""
        try:
            made = make(self._generate(["reference", *names]), ray)
        except UsageError as error:
            raise UsageError(f"the shards cannot be made as generate.py makes them: {error}") from None
        assert made is not None  # no dry run was asked for
        write_page(made.root)
        for summary in made.summaries:
            if failed := summary["totals"]["failed"]:
                where = f"{made.root}/{summary['name']}/manifest.parquet"
                say(f"left out {failed:,} of the {self._noun}, which failed in {summary['name']}: {where} says why")

    def _generate(self, variants: Sequence[str]) -> Generate:
        there, given = self._there, self._options
        drawn = any(token in TOKENS.values() for name in variants for token in name.split("+"))
        return Generate(
            variants=tuple(variants),
            methods=given.methods,
            seed=self._seed if drawn else None,
            dataset=self.dataset,
            inputs=given.inputs,
            output=self.root.parent.address,
            target=self._target,
            reference=self._reference,
            samples_per_shard=there.get("samples_per_shard"),
            image_format=there.get("image_format"),
            split=split_of(there),
            limit=given.limit,
            cluster=given.run_by,
        )


class ImageMaker(Maker):
    """Makes variants of the pixels with the geometry that a model's preprocessing asks for."""

    def __init__(self, options: Options, preprocessing: Preprocessing) -> None:
        super().__init__(options)
        self._preprocessing = preprocessing

    @property
    def base(self) -> Variant:
        geometry, _ = choose_geometry(self.dataset, self._target)
        return base_variant(self._reference, geometry, known=self.known)

    def blank(self) -> NDArray[np.uint8]:
        """An image of zeros with the shape, (height, width, 3), that a source of the usual size has in the shards."""
        geometry, size = choose_geometry(self.dataset, self._target)
        target = frame(geometry, *DATASETS[self.dataset].typical, size)
        return np.zeros((target.height, target.width, 3), np.uint8)

    @property
    def _target(self) -> Target:
        there = self._there
        if there:
            return Target.of(there["geometry"], size_from_json(there["size"]))
        return wanted_geometry(self._preprocessing, self._options.target, self.dataset)

    @property
    def _reference(self) -> str:
        asked = self._options.reference or self._preprocessing.reference or DEFAULT_REFERENCE
        return str(self._there.get("reference", asked))

    def _check_target(self, shards: Shards) -> None:
        have = str(shards.config["geometry"]), size_from_json(shards.config["size"])
        asked = target_like(self._preprocessing, self._options.target, self.dataset, Target.of(*have))
        if self._options.target != Target() and choose_geometry(self.dataset, asked) != have:
            raise UsageError(
                f"{shards.root} has shards made with {' '.join(words(*have))}, and the command line asks for "
                "another geometry: leave that out, or give --shards another folder"
            )

    def _asked_reference(self, text: str, shards: Shards) -> Variant:
        return base_variant(text, str(shards.config["geometry"]), known=shards.known)


def is_speech(options: Options) -> bool:
    """Whether the set to score, or to make, is of recordings."""
    if options.dataset is not None:
        return options.dataset in SPOKEN
    place = place_of(options.shards, "--shards")
    there = dataset_in(place)
    return (place.name if there is None else there) in SPOKEN


def dataset_at(options: Options) -> tuple[str, Place]:
    """The dataset and its folder: the one that `--shards` names, or one inside it."""
    place = place_of(options.shards, "--shards")
    folders = {folder.parent for folder in variant_folders(place)}
    dataset = options.dataset
    if dataset is None:
        names = {folder.name for folder in folders} if folders else {place.name}
        if len(names) > 1 or not names <= DATASETS.keys():
            raise UsageError("--source needs --dataset as well: what are the images of?")
        (dataset,) = names
    elif place.name != dataset and (place.name in DATASETS or place in folders):
        other = f"is for {place.name}: leave out --dataset, or" if place.name in DATASETS else "has another name:"
        raise UsageError(f"--dataset {dataset}, but --shards {place} {other} give --shards {place.parent / dataset}")
    return dataset, place if place.name == dataset else place / dataset
