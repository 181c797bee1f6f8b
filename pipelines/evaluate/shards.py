"""The shards to be scored: which variants are there, which samples they share, and how to read their images or
spectrograms.

Reads manifests and tars, and writes nothing. Refuses folders whose variants do not belong together or lack the
reference, and a tar that does not hold what its manifest says. Whether every byte is right is verify.py's to say.
Shards may come from anybody: what is read of them is bounded, and names in them lead nowhere else.
"""

from __future__ import annotations

import os
import shlex
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from generators.draw import Draw, mixes, mixes_in, seed_in
from generators.geometry import Size
from generators.own import Program, named_in, with_own
from generators.registry import AT, AUDIO_STAGES, MODEL_STAGES, STAGES, Method, order
from generators.variant import (
    ANY,
    DEFAULT_OF_SPEECH,
    DEFAULT_REFERENCE,
    NONE,
    Variant,
    VariantError,
    changed,
    in_full,
    is_group,
    parse,
)
from generators.variant import reference as base_variant
from manifests.images import LABEL_MAP, extension_of
from manifests.kinds import kind_of
from manifests.mels import MEL, SPOKEN, TEXT
from manifests.row import Kind, is_key
from manifests.schema import SUMMARY, TABLE, parse_summary
from manifests.splits import VALIDATION, split_of
from manifests.untrusted import LARGEST_JSON, Tar, parse_description, read_groups
from manifests.verify import decode, decode_label_map, decode_mel, variant_folders
from pipelines.errors import RunError, UsageError
from pipelines.generate.config import size_from_json
from pipelines.generate.sources.labelled import FlatSource, TarSource
from pipelines.generate.sources.spoken import SpokenSource
from pipelines.generate.target import words as geometry_words
from pipelines.store import BLOCK, Disk, Place
from pipelines.text import first_line

UNKNOWN_LABEL = -1
# More keys than that take gigabytes.
_MOST_SAMPLES = 10_000_000
# Bytes that a store sends about as fast as it answers one request: a smaller sample is read, not skipped.
_WORTH_A_REQUEST = 2**20
# Bytes fetched at a time where samples are skipped: what lies between two images is far less.
_HEADERS = 2**16
# What maps a shard's pixels to the source's.
_NUMBERS = ("crop_x", "crop_y", "scale_x", "scale_y")
# The members of a sample besides its image.
_BESIDE_IMAGES = ("cls", "json", LABEL_MAP)
# Behind a token: all versions of it.
VERSIONS = f"{AT}{ANY}"
# Kinds of sources that hold no labels of their own.
_LABELLED_BY_LIST = (FlatSource.kind, TarSource.kind)


@dataclass(frozen=True)
class ScoredVariant:
    """One finished variant: its name, its folder and what its `manifest.json` holds.

    A variant with noise in the model, or behind it, has the folder and the manifest of the variant with its pixels;
    `noise` has the token of each of those stages, and is empty for a variant of the pixels alone.
    """

    name: str
    folder: Place
    summary: Mapping[str, Any]
    noise: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        """What its samples are made into."""
        return kind_of(str(self.summary["config"]["dataset"]))

    @property
    def stages(self) -> Mapping[str, str]:
        """The token of each stage; `none` where it is left out."""
        return {**dict.fromkeys((*self.kind.stages, *MODEL_STAGES), NONE), **self.summary["variant"], **self.noise}

    @property
    def pixels(self) -> str:
        """The name of the variant with its pixels."""
        return self.folder.name

    @property
    def pixels_sha256(self) -> str:
        """The same for variants with the same pixels, or spectrograms, on every sample."""
        return str(self.summary[self.kind.digest_of_all])

    @property
    def mean_residual(self) -> float | None:
        """Mean absolute difference from the reference, 0 to 255; None where nothing could be compared."""
        found: float | None = self.summary["residual"]["mean_abs"]
        return found

    def keys(self) -> list[str]:
        """The samples that its tars hold, in order."""
        table = self.table("key", "status")
        found: list[str] = table.filter(pc.equal(table["status"], "ok"))["key"].to_pylist()
        return found

    def table(self, *columns: str) -> pa.Table:
        """These columns of the manifest, a row for each source sample in order of keys."""
        rows, parts, schema = 0, [], pa.schema([self.kind.columns.field(name) for name in columns])
        try:
            with (self.folder / TABLE).open() as file:
                for part in read_groups(file, schema):
                    rows += part.num_rows
                    if rows > _MOST_SAMPLES:
                        raise ValueError(f"it has more than {_MOST_SAMPLES:,} rows")
                    parts.append(part)
            _check_rows(rows, self.summary["totals"], parts)
            return pa.concat_tables([schema.empty_table(), *parts])
        except FileNotFoundError:
            raise RunError(f"{self.folder / TABLE} is missing: run the same generate.py command again") from None
        except (OSError, ValueError) as error:
            raise RunError(f"{self.folder / TABLE} cannot be read ({first_line(error)}): run verify.py") from None


def _check_rows(rows: int, totals: Mapping[str, int], parts: Iterable[pa.Table]) -> None:
    """Raises ValueError where a table has not as many rows as its manifest says, or keys that can be none."""
    if rows != totals["samples"] + totals["failed"]:
        raise ValueError(f"it has {rows:,} rows, and its {SUMMARY} says otherwise")
    for part in parts:
        if "key" in part.column_names and not all(map(is_key, part["key"].to_pylist())):
            raise ValueError("it has a key that can be none")


class Samples(NamedTuple):
    """The samples that every variant has, in order of keys; `labels` is -1 where unknown (int64, one for each key)."""

    keys: list[str]
    labels: NDArray[np.int64]

    def only_labelled(self) -> Samples:
        """Those whose label is known."""
        known = self.labels != UNKNOWN_LABEL
        keys = [key for key, is_known in zip(self.keys, known, strict=True) if is_known]
        return Samples(keys, self.labels[known])


class Stored(NamedTuple):
    """One sample in a tar: its key, and its members by extension (`png`, `cls`, `json`, `seg.png`)."""

    key: str
    members: Mapping[str, bytes]


@dataclass(frozen=True)
class Shards:
    """The finished variants of one dataset, the reference first, and the names of those that are not finished."""

    root: Place
    reference: ScoredVariant
    variants: Mapping[str, ScoredVariant]
    unfinished: tuple[str, ...]
    methods: tuple[Method, ...] = ()

    @cached_property
    def known(self) -> Mapping[str, Method]:
        """All methods by token, with those of one's own: the given `methods`, and what these variants went through."""
        libraries: dict[str, str] = {}
        for variant in self.variants.values():
            libraries |= variant.summary["provenance"]["libraries"]
        own = {**named_in(libraries), **{method.token: method for method in self.methods}}
        return with_own((*mixes(seed_in(libraries) or 0), *own.values(), *mixes_in(libraries)))

    def variant(self, text: str) -> Variant:
        """The variant that a name stands for here. Raises VariantError."""
        return parse(text, self.base, self.known)

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration that all variants have in common."""
        found: Mapping[str, Any] = self.reference.summary["config"]
        return found

    @property
    def dataset(self) -> str:
        return str(self.config["dataset"])

    @property
    def speech(self) -> bool:
        """Whether its samples are recordings, and no images."""
        return self.dataset in SPOKEN

    @property
    def folders(self) -> Mapping[str, ScoredVariant]:
        """The variants of the pixels alone, each of which has its own folder."""
        return {name: variant for name, variant in self.variants.items() if not variant.noise}

    def with_noise(self, noised: Iterable[Variant]) -> Shards:
        """The same with variants that have noise in the model or behind it, whose pixels are there."""
        found = dict(self.variants)
        for variant in noised:
            if variant.noise:
                pixels, noise = self.variants[variant.pixels], variant.noise_spelled_out
                found.setdefault(variant.name, replace(pixels, name=variant.name, noise=noise))
        others = (variant for variant in found.values() if variant is not self.reference)
        ordered = sorted(others, key=lambda variant: _order(variant, self.reference))
        return replace(self, variants={variant.name: variant for variant in (self.reference, *ordered)})

    def only(self, names: Collection[str]) -> Shards:
        """The same with these variants and the reference alone."""
        kept = {name: v for name, v in self.variants.items() if name in names or v is self.reference}
        return replace(self, variants=kept)

    @property
    def base(self) -> Variant:
        """The reference as a value of the registry, relative to which names are read."""
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
        """The images that are there in every variant. Raises UsageError where the variants list different ones."""
        shared = self._shared("key", "status", "label")
        labels = shared["label"].to_numpy().astype(np.int64)
        return Samples(shared["key"].to_pylist(), labels)

    def shared_keys(self) -> list[str]:
        """The keys of the samples that are there in every variant, in order. Raises UsageError as `samples` does."""
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
                raise UsageError(f"{variant.folder} and {self.reference.folder} list different samples: make them anew")
            there = pc.and_(there, pc.equal(table["status"], "ok"))
        return first.filter(there)

    def stored(self, name: str, wanted: Collection[str] | None = None) -> Iterator[Stored]:
        """A variant's samples from its tars, in order of keys; only those `wanted`, where that is given.

        Raises RunError where a tar is missing, damaged, or not what the manifest says.
        """
        variant = self.variants[name]
        for shard, own in _holding(variant, wanted):
            yield from self._of_shard(variant, shard, own)

    def of_shard(self, variant: ScoredVariant, number: int, places: range) -> Iterator[Stored]:
        """The samples at these places of one of a variant's shards, in order. Raises RunError as `stored` does."""
        shard = variant.summary["shards"][number]
        left = len(places)
        for stored in self._of_shard(variant, shard, places):
            left -= 1
            yield stored
        if left:
            path = variant.folder / str(shard["name"])
            raise RunError(f"{path} does not have its {shard['samples']:,} samples: run verify.py")

    def _of_shard(
        self, variant: ScoredVariant, shard: Mapping[str, Any], wanted: set[str] | range | None
    ) -> Iterator[Stored]:
        """The samples of a shard: those of these keys, or at these places among all; None for all."""
        path = variant.folder / str(shard["name"])
        known = (
            {MEL, TEXT, "json"} if self.speech else {extension_of(str(self.config["image_format"])), *_BESIDE_IMAGES}
        )
        try:
            with path.open(_block(shard, len(wanted)) if isinstance(wanted, set) else BLOCK) as file:
                if not isinstance(wanted, set) and file.seek(0, os.SEEK_END) != shard["bytes"]:
                    raise RunError(f"{path} does not have the {shard['bytes']:,} bytes of its manifest: run verify.py")
                with Tar(file) as tar:
                    yield from _stored(tar, known, wanted, _begins(str(path), shard["bytes"]))
        except (OSError, EOFError, tarfile.TarError) as error:
            raise RunError(f"{path} cannot be read ({first_line(error)}): run verify.py") from None

    def pixels(self, stored: Stored) -> NDArray[np.uint8]:
        """A sample's image as RGB uint8 of shape (height, width, 3)."""
        image_format = str(self.config["image_format"])
        try:
            return decode(stored.members[extension_of(image_format)], image_format)
        except Exception as error:  # damaged bytes can raise anything
            raise RunError(f"the image of {stored.key} cannot be read ({first_line(error)}): run verify.py") from None

    def mel(self, stored: Stored) -> NDArray[np.float32]:
        """A sample's mel spectrogram: float32 of shape (bands, frames)."""
        try:
            found = decode_mel(stored.members[MEL])
            if len(found) != self.config["mel"]["bands"] or not np.isfinite(found).all():
                raise ValueError("it is not as its manifest says")
        except Exception as error:  # as for pixels
            raise RunError(
                f"the spectrogram of {stored.key} cannot be read ({first_line(error)}): run verify.py"
            ) from None
        return found

    def info(self, stored: Stored) -> dict[str, Any]:
        """A sample's `json` member."""
        try:
            found = parse_description(stored.members["json"])
            if any(type(found[name]) not in (int, float) for name in _NUMBERS) or 0 in (
                found["scale_x"],
                found["scale_y"],
            ):
                raise ValueError("it does not say where the image comes from")
            if self.dataset == "coco" and type(found["image_id"]) is not int:
                raise ValueError("it names no image")
        except (KeyError, ValueError, TypeError) as error:
            raise RunError(f"the json of {stored.key} cannot be read ({first_line(error)}): run verify.py") from None
        return dict(found)

    def label_map(self, stored: Stored) -> NDArray[np.uint8]:
        """A sample's label map, uint8 of shape (height, width)."""
        try:
            return decode_label_map(stored.members[LABEL_MAP])
        except Exception as error:  # as for pixels
            raise RunError(
                f"the label map of {stored.key} cannot be read ({first_line(error)}): run verify.py"
            ) from None

    def command(self, names: Sequence[str], other: tuple[str, Size] | None = None) -> str:
        """The command that makes the pixels of these variants, groups, or versions, beside those that are there.

        With an `other` geometry and size it makes them elsewhere.
        """
        config = self.config
        several = {name for name in names if is_group(name) or name.endswith(VERSIONS)}
        variants = {name: self.variant(name) for name in names if name not in several}
        pixels = dict.fromkeys(variants[name].pixels if name in variants else name for name in names)
        methods = dict.fromkeys(m for v in (self.base, *variants.values()) for m in v.methods)
        own = [f"{m.token}={m.stage}:…" for m in methods if isinstance(m.library, Program)]
        drawn = dict.fromkeys(m.library.seed for m in methods if isinstance(m.library, Draw))
        words = ["generate.py", "--variant", shlex.quote(",".join(pixels)), "--dataset", self.dataset]
        words += [word for method in own for word in ("--method", method)]
        built_in = self.dataset == "sample" or config["source"].get("kind") == SpokenSource.kind
        words += ["--source", "…"] if not built_in else []
        words += ["--annotations", "…"] if self.dataset == "coco" else []
        words += ["--labels", "…"] if config["source"].get("kind") in _LABELLED_BY_LIST else []
        words += ["--split", split] if (split := split_of(config)) != VALIDATION else []
        words += [word for seed in drawn for word in ("--seed", str(seed))]
        words += self._made_as(other)
        words += ["--samples-per-shard", str(config["samples_per_shard"])]
        return " ".join([*words, "--output", "…" if other else shlex.quote(self.root.parent.address)])

    def _made_as(self, other: tuple[str, Size] | None) -> list[str]:
        """What is typed for the configuration, with an `other` geometry and size."""
        config = self.config
        default = DEFAULT_OF_SPEECH if self.speech else DEFAULT_REFERENCE
        reference = ["--reference", str(config["reference"])] if config["reference"] != default else []
        if self.speech:
            return ["--sample-rate", str(config["mel"]["rate"]), *reference]
        geometry, size = other or (str(config["geometry"]), size_from_json(config["size"]))
        image_format = ["--image-format", str(config["image_format"])] if config["image_format"] != "png" else []
        return [*geometry_words(geometry, size), *reference, *image_format]


def _holding(
    variant: ScoredVariant, wanted: Collection[str] | None
) -> Iterator[tuple[Mapping[str, Any], set[str] | None]]:
    """The shards of a variant that hold any of the wanted samples, each with those; None for all of them."""
    shards: Sequence[Mapping[str, Any]] = variant.summary["shards"]
    if wanted is None:
        yield from ((shard, None) for shard in shards)
        return
    table = variant.table("key", "shard")
    chosen = table.filter(pc.is_in(table["key"], pa.array(wanted, pa.string())))
    held: dict[int, set[str]] = {}
    for key, number in zip(chosen["key"].to_pylist(), chosen["shard"].to_pylist(), strict=True):
        held.setdefault(number, set()).add(key)
    for number, keys in held.items():
        if not 0 <= number < len(shards):
            raise RunError(f"{variant.folder / TABLE} has a shard {number} that is none: run verify.py")
        yield shards[number], keys


def _block(shard: Mapping[str, Any], wanted: int) -> int:
    """Bytes to fetch of a tar at a time, to read so many of its samples."""
    samples = int(shard["samples"])
    skips = 2 * wanted < samples and shard["bytes"] >= samples * _WORTH_A_REQUEST
    return _HEADERS if skips else BLOCK


@lru_cache(maxsize=4)
def _begins(tar: str, size: int) -> list[int]:
    """Where samples of a tar of this size begin, in order, as far as this process has come in it: a list to add to."""
    return []


def _stored(tar: Tar, known: Collection[str], wanted: set[str] | range | None, begins: list[int]) -> Iterator[Stored]:
    """A tar's samples, those `wanted` by their keys or by their places; it is read no further than the last of them.

    Where samples begin is added to `begins`; what comes before the first place that is wanted is then not read again.
    """
    key, members, place, taken = "", dict[str, bytes](), -1, False
    left = -1 if wanted is None else len(wanted)
    if isinstance(wanted, range) and begins:
        place = min(wanted.start, len(begins) - 1)
        tar.skip_to(begins[place])
        place -= 1
    for member in tar:
        own, _, extension = member.name.partition(".")
        if own != key:
            if members:
                yield Stored(key, members)
            left -= taken
            if not left:
                return
            key, members, place = own, {}, place + 1
            taken = wanted is None or (place if isinstance(wanted, range) else own) in wanted
            if place == len(begins) and not tar.pax_headers:  # which would be passed over with what is before
                begins.append(member.offset)
        if taken and extension in known:
            members[extension] = tar.content(member)
    if members:
        yield Stored(key, members)


def open_shards(place: Place | Path, methods: tuple[Method, ...] = ()) -> Shards:
    """The variants at `place`: a dataset's folder, or an output that holds one dataset.

    `methods` are those of one's own that more may be made with.
    Raises UsageError where there are none, where they were made with different configurations, or where the reference
    is not among them.
    """
    root = Disk(str(place.absolute())) if isinstance(place, Path) else place
    folders = variant_folders(root)
    if not folders:
        raise UsageError(f"no shards at {root}: give the folder that generate.py wrote, as out/imagenet")
    roots = list(dict.fromkeys(folder.parent for folder in folders))
    if len(roots) > 1:
        raise UsageError(f"{root} holds {len(roots)} datasets: give one of {', '.join(map(str, roots))}")
    if root in folders:
        raise UsageError(f"{root} is one variant: give its dataset's folder, {roots[0]}")
    unfinished = [folder.name for folder in folders if not (folder / SUMMARY).is_file()]
    found = [_read(folder) for folder in folders if folder.name not in unfinished]
    if not found:
        raise UsageError(f"no variant in {roots[0]} is finished: run the same generate.py command again")
    configs = {variant.summary["config_sha256"]: variant for variant in found}
    if len(configs) > 1:
        one, other, *_ = configs.values()
        raise UsageError(f"{one.folder} and {other.folder} were made with different configurations: keep them apart")
    wanted = found[0].summary["config"]["reference"]
    reference = next((v for v in found if in_full(v.stages) == wanted), None)
    if reference is None:
        raise UsageError(f"the reference ({wanted}) is not in {roots[0]}: make it with generate.py --variant reference")
    others = sorted((variant for variant in found if variant is not reference), key=lambda v: _order(v, reference))
    shards = Shards(roots[0], reference, {v.name: v for v in (reference, *others)}, tuple(unfinished), methods)
    try:
        _ = shards.base
    except VariantError as error:
        raise UsageError(
            f"{reference.folder / SUMMARY} has a reference that is none ({error}): run verify.py"
        ) from None
    return shards


def dataset_in(place: Place) -> str | None:
    """The dataset of the shards at a place; None where there are none that can be read."""
    for folder in variant_folders(place):
        try:
            return str(parse_summary((folder / SUMMARY).read(LARGEST_JSON), SUMMARY)["config"]["dataset"])
        except (OSError, ValueError):
            continue
    return None


def check_images(shards: Shards, what: str) -> None:
    """Raises UsageError where the shards are of recordings, with which `what` has nothing to do."""
    if shards.speech:
        raise UsageError(f"{what} is of images, and {shards.root} has mel spectrograms of recordings")


def _read(folder: Place) -> ScoredVariant:
    path = folder / SUMMARY
    try:
        summary = parse_summary(path.read(LARGEST_JSON), SUMMARY)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is damaged ({first_line(error)}): run verify.py") from None
    if summary["name"] != folder.name:
        raise UsageError(f"{folder} holds the variant {summary['name']}: give the folder that name")
    return ScoredVariant(folder.name, folder, summary)


def _order(variant: ScoredVariant, reference: ScoredVariant) -> tuple[int, list[tuple[Any, ...]], str]:
    """Single stages first, in the order of stages, of the registry and of versions; then compositions."""
    stages = changed(variant.stages, reference.stages)
    places = [((*AUDIO_STAGES, *STAGES).index(stage), *order(variant.stages[stage])) for stage in stages]
    return len(places), places, variant.name
