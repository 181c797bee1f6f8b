"""A set of shards as a value: its variants, the samples that they share, and the content of a sample."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from generators.draw import mixes, mixes_in, seed_in
from generators.geometry import Size
from generators.own import named_in, with_own
from generators.registry import AUDIO_STAGES, Method
from generators.variant import Variant, changed, parse
from generators.variant import reference as base_variant
from manifests.images import LABEL_MAP, extension_of
from manifests.mels import MEL, SPOKEN, TEXT
from manifests.untrusted import parse_description
from manifests.verify import decode, decode_label_map, decode_mel
from pipelines.errors import RunError, UsageError
from pipelines.shards.command import generate_command
from pipelines.shards.tar import Stored, read_places, read_samples
from pipelines.shards.variant import FinishedVariant, in_order
from pipelines.store import Place
from pipelines.text import first_line

UNKNOWN_LABEL = -1
# They map a shard's pixels to the source's.
_NUMBERS = ("crop_x", "crop_y", "scale_x", "scale_y")
# The members of a sample next to its image.
_BESIDE_IMAGES = ("cls", "json", LABEL_MAP)


class Samples(NamedTuple):
    """The samples that every variant has, in order of keys; `labels` is int64, one for each key, -1 if unknown."""

    keys: list[str]
    labels: NDArray[np.int64]

    def only_labelled(self) -> Samples:
        """Those whose label is known."""
        known = self.labels != UNKNOWN_LABEL
        keys = [key for key, is_known in zip(self.keys, known, strict=True) if is_known]
        return Samples(keys, self.labels[known])


@dataclass(frozen=True)
class Shards:
    """The finished variants of one dataset, the reference first, and the names of the unfinished ones.

    `methods` are the user's own, for variants that are still to be made.
    """

    root: Place
    reference: FinishedVariant
    variants: Mapping[str, FinishedVariant]
    unfinished: tuple[str, ...]
    methods: tuple[Method, ...] = ()

    @cached_property
    def known(self) -> Mapping[str, Method]:
        """All methods by token, with custom ones: the given `methods`, and those that made these variants."""
        libraries: dict[str, str] = {}
        for variant in self.variants.values():
            libraries |= variant.summary["provenance"]["libraries"]
        own = {**named_in(libraries), **{method.token: method for method in self.methods}}
        return with_own((*mixes(seed_in(libraries) or 0), *own.values(), *mixes_in(libraries)))

    def variant(self, text: str) -> Variant:
        """The variant that a name stands for in this set. Raises VariantError."""
        return parse(text, self.base, self.known)

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration that all variants share."""
        found: Mapping[str, Any] = self.reference.summary["config"]
        return found

    @property
    def dataset(self) -> str:
        return str(self.config["dataset"])

    @property
    def speech(self) -> bool:
        """Whether its samples are recordings rather than images."""
        return self.dataset in SPOKEN

    @property
    def folders(self) -> Mapping[str, FinishedVariant]:
        """The variants of the pixels only, each of which has its own folder."""
        return {name: variant for name, variant in self.variants.items() if not variant.noise}

    def with_noise(self, noised: Iterable[Variant]) -> Shards:
        """A copy with variants that have noise in the model or its output added; their pixels must be in this set."""
        found = dict(self.variants)
        for variant in noised:
            if variant.noise:
                pixels, noise = self.variants[variant.pixels], variant.noise_spelled_out
                found.setdefault(variant.name, replace(pixels, name=variant.name, noise=noise))
        return replace(self, variants=in_order(found.values(), self.reference))

    def only(self, names: Collection[str]) -> Shards:
        """A copy restricted to these variants and the reference."""
        kept = {name: v for name, v in self.variants.items() if name in names or v is self.reference}
        return replace(self, variants=kept)

    @property
    def base(self) -> Variant:
        """The reference as the registry knows it; names are read relative to it."""
        text, known = self.config["reference"], self.known
        if self.speech:
            return base_variant(text, stages=AUDIO_STAGES, known=known)
        return base_variant(text, resizes=self.config["geometry"] != "identity", known=known)

    @property
    def notes(self) -> list[str]:
        """Lines for the user."""
        return [f"left out: {name} is unfinished, run the same generate.py command again" for name in self.unfinished]

    def changed_stages(self, name: str) -> tuple[str, ...]:
        """The stages at which a variant differs from the reference, in order."""
        return changed(self.variants[name].stages, self.reference.stages)

    def samples(self) -> Samples:
        """The samples that every variant has. Raises UsageError if the variants list different ones."""
        shared = self._shared("key", "status", "label")
        labels = shared["label"].to_numpy().astype(np.int64)
        return Samples(shared["key"].to_pylist(), labels)

    def shared_keys(self) -> list[str]:
        """The keys of the samples that every variant has, in order. Raises UsageError as `samples` does."""
        found: list[str] = self._shared("key", "status")["key"].to_pylist()
        return found

    def _shared(self, *columns: str) -> pa.Table:
        first = self.reference.table(*columns)
        there = pc.equal(first["status"], "ok")
        for variant in {variant.folder: variant for variant in self.variants.values()}.values():
            if variant.folder == self.reference.folder:
                continue
            table = variant.table("key", "status")
            if not table["key"].equals(first["key"]):
                raise UsageError(
                    f"{variant.folder} and {self.reference.folder} list different samples: make both again"
                )
            there = pc.and_(there, pc.equal(table["status"], "ok"))
        return first.filter(there)

    @property
    def _extensions(self) -> Collection[str]:
        """The members of a sample that are read."""
        if self.speech:
            return (MEL, TEXT, "json")
        return (extension_of(str(self.config["image_format"])), *_BESIDE_IMAGES)

    def stored(self, name: str, wanted: Collection[str] | None = None) -> Iterator[Stored]:
        """A variant's samples from its tars, in order of keys: all of them, or those with the `wanted` keys.

        Raises RunError if a tar is missing, damaged or contradicts its manifest.
        """
        return read_samples(self.variants[name], self._extensions, wanted)

    def of_shard(self, variant: FinishedVariant, number: int, places: range) -> Iterator[Stored]:
        """The samples at these places of one of a variant's shards, in order. Raises RunError as `stored` does."""
        return read_places(variant, number, self._extensions, places)

    def pixels(self, stored: Stored) -> NDArray[np.uint8]:
        """A sample's image as RGB uint8 of shape (height, width, 3). Raises RunError if it is damaged."""
        image_format = str(self.config["image_format"])
        try:
            return decode(stored.members[extension_of(image_format)], image_format)
        except Exception as error:  # damaged bytes can raise anything
            raise RunError(f"the image of {stored.key} cannot be read ({first_line(error)}): run verify.py") from None

    def mel(self, stored: Stored) -> NDArray[np.float32]:
        """A sample's mel spectrogram: float32 of shape (bands, frames). Raises RunError if it is damaged."""
        try:
            found = decode_mel(stored.members[MEL])
            if len(found) != self.config["mel"]["bands"] or not np.isfinite(found).all():
                raise ValueError("it does not match its manifest")
        except Exception as error:  # as for pixels
            raise RunError(
                f"the spectrogram of {stored.key} cannot be read ({first_line(error)}): run verify.py"
            ) from None
        return found

    def info(self, stored: Stored) -> dict[str, Any]:
        """A sample's `json` member. Raises RunError if it is damaged."""
        try:
            found = parse_description(stored.members["json"])
            if any(type(found[name]) not in (int, float) for name in _NUMBERS) or 0 in (
                found["scale_x"],
                found["scale_y"],
            ):
                raise ValueError("it does not map the image to its source")
            if self.dataset == "coco" and type(found["image_id"]) is not int:
                raise ValueError("it has no image_id")
        except (KeyError, ValueError, TypeError) as error:
            raise RunError(f"the json of {stored.key} cannot be read ({first_line(error)}): run verify.py") from None
        return dict(found)

    def label_map(self, stored: Stored) -> NDArray[np.uint8]:
        """A sample's label map, uint8 of shape (height, width). Raises RunError if it is damaged."""
        try:
            return decode_label_map(stored.members[LABEL_MAP])
        except Exception as error:  # as for pixels
            raise RunError(
                f"the label map of {stored.key} cannot be read ({first_line(error)}): run verify.py"
            ) from None

    def command(self, names: Sequence[str], other: tuple[str, Size] | None = None) -> str:
        """The generate.py command that adds the pixels of these variants, groups or versions to this set.

        With an `other` geometry and size, the command makes them in another output.
        """
        return generate_command(self, names, other)
