"""One run's configuration: frozen, validated once at the edge, and shared by all variants of the run.

It contains only what decides bytes, and so neither the number of workers, nor the output's path, nor the set of
variants that were asked for together.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from generators.audio.settings import MelSettings
from generators.geometry import Size, frame
from generators.own import OwnMethodError, own_methods, with_own
from generators.registry import AUDIO_STAGES, LIBRARIES, METHODS, PIXEL_STAGES, Library, Method, Stage
from generators.variant import Variant, VariantError, reference
from manifests.provenance import code_sha256
from manifests.splits import VALIDATION
from pipelines.datasets import DATASETS
from pipelines.errors import UsageError
from pipelines.generate import encode
from pipelines.generate.sources.find import Found
from pipelines.options import Target

# The mean recording of LJSpeech: 24 hours in 13,100 (its README).
_TYPICAL_SECONDS = 6.6
_ROOT = Path(__file__).resolve().parents[2]
# The code that decides bytes. Its digest is in a run's log, and the probe is repeated if it changes.
_CODE = (
    *(
        f"generators/{name}"
        for name in ("audio", "draw.py", "geometry.py", "method.py", "own.py", "pixels", "registry.py", "variant.py")
    ),
    *(f"manifests/{name}.py" for name in ("canonical", "derive", "images", "kinds", "mels")),
    *(f"manifests/{name}.py" for name in ("residual", "residuals", "row")),
    "manifests/schema",
    *(f"pipelines/generate/{name}.py" for name in ("calls", "config", "encode", "encoder", "given", "pictures")),
    *(f"pipelines/generate/{name}.py" for name in ("parts", "plan", "png", "render", "renderers", "shard", "tar")),
    *(f"pipelines/generate/machines/{name}.py" for name in ("pictures", "probe")),
    *(f"pipelines/generate/{name}" for name in ("sources", "speech")),
)


class Config(ABC):
    """What decides the bytes of a run, besides the variant and the library versions.

    `source` describes the samples: the layout, their number, a digest of their keys, labels, paths and sizes, and the
    source's own facts. `methods` are custom methods, and `draws` those from which each sample's is drawn. Both enter
    manifests as versions, as libraries do, so that variants with more of them can be added to a folder later.
    """

    dataset: str
    reference: str
    samples_per_shard: int
    source: tuple[tuple[str, Any], ...]
    methods: tuple[Method, ...]

    @property
    def split(self) -> str:
        """The split that the samples belong to."""
        return VALIDATION

    @property
    def draws(self) -> tuple[Method, ...]:
        """The methods from which one is drawn for each sample."""
        return ()

    @property
    def known(self) -> Mapping[str, Method]:
        """All methods available to this run, by token."""
        return with_own((*self.methods, *self.draws))

    @property
    @abstractmethod
    def base(self) -> Variant:
        """The reference variant. A GPU that it needs is not looked for, since it may be on another machine."""

    @functools.cached_property
    def in_manifests(self) -> dict[str, Any]:
        """`as_json`, cached."""
        return self.as_json()

    @abstractmethod
    def as_json(self) -> dict[str, Any]:
        """The configuration as manifests store it."""

    @abstractmethod
    def asked(self) -> dict[str, Any]:
        """The options of generate.py that ask for it, besides those that all configurations have."""

    @abstractmethod
    def expected(self) -> int:
        """The approximate size in bytes of a typical sample's result."""

    @abstractmethod
    def reader(self) -> Library:
        """The library that reads the headers of all sources, whichever library makes the results."""

    @abstractmethod
    def written_by(self) -> dict[str, str]:
        """The versions of the libraries that write and check results."""

    def needs_gpu(self, variant: Variant) -> bool:
        """Whether a variant, or the reference that is rendered with it, needs a GPU."""
        return variant.gpu or self.base.gpu

    def libraries(self, variant: Variant) -> list[Library]:
        """The libraries that a variant's rows and results depend on."""
        used = {method.library for method in (*variant.methods, *self.base.methods)}
        return sorted({self.reader(), *used}, key=lambda library: library.name)

    def versions(self, variant: Variant) -> dict[str, str]:
        """The versions of the libraries that a variant depends on. Raises ImportError."""
        versions = self.written_by()
        for library in self.libraries(variant):
            versions.update(library.versions())
        return versions

    @property
    def reference_in_full(self) -> str:
        """The reference with the methods of all its stages spelled out."""
        return "+".join(method.token for method in self.base.methods)


@dataclass(frozen=True)
class ImageConfig(Config):
    """A run on images. `size` is the geometry's, in pixels; manifests name the `split` only if it is not validation."""

    dataset: str
    geometry: str
    size: Size
    reference: str
    image_format: str
    samples_per_shard: int
    source: tuple[tuple[str, Any], ...]
    methods: tuple[Method, ...] = ()
    split: str = VALIDATION
    draws: tuple[Method, ...] = ()

    @property
    def base(self) -> Variant:
        return base_variant(self.reference, self.geometry, gpu=True, known=self.known)

    def as_json(self) -> dict[str, Any]:
        fields = asdict(replace(self, methods=(), draws=()))
        del fields["methods"], fields["draws"]
        if self.split == VALIDATION:
            del fields["split"]
        return {
            **fields,
            "reference": self.reference_in_full,
            "size": size_to_json(self.size),
            "source": dict(self.source),
        }

    def asked(self) -> dict[str, Any]:
        return {"target": Target.of(self.geometry, self.size), "image_format": self.image_format, "split": self.split}

    def expected(self) -> int:
        target = frame(self.geometry, *DATASETS[self.dataset].typical, self.size)
        return int(target.width * target.height * 3 * encode.EXPECTED_RATIO[self.image_format])

    def reader(self) -> Library:
        return LIBRARIES["Pillow"]

    def written_by(self) -> dict[str, str]:
        return encode.versions(self.image_format)


@dataclass(frozen=True)
class SpeechConfig(Config):
    """A run on recordings, which makes mel spectrograms with these settings."""

    dataset: str
    mel: MelSettings
    reference: str
    samples_per_shard: int
    source: tuple[tuple[str, Any], ...]
    methods: tuple[Method, ...] = ()

    @property
    def base(self) -> Variant:
        return base_of_speech(self.reference, self.known)

    def as_json(self) -> dict[str, Any]:
        fields = asdict(replace(self, methods=()))
        del fields["methods"]
        return {**fields, "reference": self.reference_in_full, "source": dict(self.source)}

    def asked(self) -> dict[str, Any]:
        return {"target": Target(sample_rate=self.mel.rate)}

    def expected(self) -> int:
        frames = int(_TYPICAL_SECONDS * self.mel.rate / self.mel.hop)
        return frames * self.mel.bands * np.dtype(np.float32).itemsize

    def reader(self) -> Library:
        return LIBRARIES["FFmpeg"]

    def written_by(self) -> dict[str, str]:
        return encode.versions("npy")


def code_here() -> str:
    """The digest of the code that decides bytes."""
    return code_sha256(_ROOT, _CODE)


def describe(found: Found) -> tuple[tuple[str, Any], ...]:
    """The `source` field of a configuration."""
    samples = found.samples
    return (
        ("kind", found.source.kind),
        ("samples", len(samples)),
        ("sha256", samples.sha256),
        *sorted(found.facts.items()),
    )


def methods_of(texts: Iterable[str]) -> tuple[Method, ...]:
    """The custom methods that `--method` defines. Raises UsageError for an invalid definition."""
    try:
        return own_methods(texts)
    except OwnMethodError as error:
        raise UsageError(f"--method: {error}") from None


def base_variant(text: str, geometry: str, gpu: bool | None = None, known: Mapping[str, Method] = METHODS) -> Variant:
    """The reference for a geometry; `gpu` is as in `Method.problem`.

    Raises UsageError if it is not a variant or cannot run here.
    """
    return _base(text, PIXEL_STAGES, gpu, known, resizes=geometry != "identity")


def base_of_speech(text: str, known: Mapping[str, Method] = METHODS) -> Variant:
    """The reference for recordings. Raises UsageError if it is not a variant or cannot run here."""
    return _base(text, AUDIO_STAGES, None, known)


def _base(
    text: str, stages: tuple[Stage, ...], gpu: bool | None, known: Mapping[str, Method], resizes: bool = True
) -> Variant:
    try:
        base = reference(text, stages=stages, resizes=resizes, known=known)
    except VariantError as error:
        raise UsageError(f"--reference: {error}") from None
    for method in base.methods:
        if problem := method.problem(gpu):
            raise UsageError(f"--reference: {method.token} cannot run here: {problem}")
    return base


def size_to_json(size: Size) -> int | list[int]:
    """A size as manifests store it: 0 for none, a number, or a list of two."""
    return list(size) if len(size) > 1 else sum(size)


def size_from_json(value: int | list[int]) -> Size:
    """The inverse of `size_to_json`."""
    return tuple(value) if isinstance(value, list) else (value,) if value else ()
