"""One run's configuration: frozen, validated once at the edge, and the same for every variant of the run.

Holds only what decides bytes. How many workers there are, where the output lies and which variants were asked for
together is not part of it.
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
from pipelines.errors import UsageError
from pipelines.generate import encode
from pipelines.generate.datasets import DATASETS
from pipelines.generate.sources.find import Found
from pipelines.options import Target

# The mean recording of LJSpeech: 24 hours in 13,100 (its README).
_TYPICAL_SECONDS = 6.6
_ROOT = Path(__file__).resolve().parents[2]
# The code that decides bytes: what it was is in a run's log, and the probe is made again where it is another.
_CODE = (
    *(
        f"generators/{name}"
        for name in ("audio", "draw.py", "geometry.py", "method.py", "own.py", "pixels", "registry.py", "variant.py")
    ),
    *(f"manifests/{name}.py" for name in ("canonical", "derive", "images", "mels", "residual", "row", "schema")),
    *(f"pipelines/generate/{name}.py" for name in ("calls", "config", "encode", "pictures", "plan", "png", "render")),
    *(f"pipelines/generate/{name}.py" for name in ("parts", "shard", "tar")),
    *(f"pipelines/generate/machines/{name}.py" for name in ("pictures", "probe")),
    *(f"pipelines/generate/{name}" for name in ("sources", "speech")),
)


class Config(ABC):
    """What decides the bytes of a run, besides the variant and the library versions.

    `source` describes the samples: the layout, their number, a digest of their keys, labels, paths and sizes, and what
    else the source says of itself. `methods` are those of one's own, and `draws` those that are drawn: what of them
    decides bytes is a version, as that of a library, so that a folder can have variants by one more of them.
    """

    dataset: str
    reference: str
    samples_per_shard: int
    source: tuple[tuple[str, Any], ...]
    methods: tuple[Method, ...]

    @property
    def split(self) -> str:
        """The split that the samples are of."""
        return VALIDATION

    @property
    def draws(self) -> tuple[Method, ...]:
        """What may be drawn for each sample."""
        return ()

    @property
    def known(self) -> Mapping[str, Method]:
        """All methods that there are for this run, by token."""
        return with_own((*self.methods, *self.draws))

    @property
    @abstractmethod
    def base(self) -> Variant:
        """The reference variant. Whether there is a GPU for it is not looked for: it may be on another machine."""

    @functools.cached_property
    def in_manifests(self) -> dict[str, Any]:
        """As `as_json`, made once."""
        return self.as_json()

    @abstractmethod
    def as_json(self) -> dict[str, Any]:
        """What manifests hold of it."""

    @abstractmethod
    def asked(self) -> dict[str, Any]:
        """The fields of generate.py's options, besides those that all configurations have, that ask for it."""

    @abstractmethod
    def expected(self) -> int:
        """About how many bytes the result of an ordinary sample has."""

    @abstractmethod
    def reader(self) -> Library:
        """The library that reads the headers of all sources, whatever makes the results."""

    @abstractmethod
    def written_by(self) -> dict[str, str]:
        """The versions of what writes results, and checks them."""

    def needs_gpu(self, variant: Variant) -> bool:
        """Whether a variant, or the reference that is rendered beside it, needs a GPU."""
        return variant.gpu or self.base.gpu

    def libraries(self, variant: Variant) -> list[Library]:
        """The libraries that have a part in a variant's rows and results."""
        used = {method.library for method in (*variant.methods, *self.base.methods)}
        return sorted({self.reader(), *used}, key=lambda library: library.name)

    def versions(self, variant: Variant) -> dict[str, str]:
        """The versions of the libraries that have a part in a variant. Raises ImportError."""
        versions = self.written_by()
        for library in self.libraries(variant):
            versions.update(library.versions())
        return versions

    @property
    def reference_in_full(self) -> str:
        """The reference with the methods of all its stages."""
        return "+".join(method.token for method in self.base.methods)


@dataclass(frozen=True)
class ImageConfig(Config):
    """A run on images. `size` is what the geometry takes, in pixels; manifests hold a `split` other than validation."""

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
        said = asdict(replace(self, methods=(), draws=()))
        del said["methods"], said["draws"]
        if self.split == VALIDATION:
            del said["split"]
        return {
            **said,
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
    """A run on recordings, whose results are mel spectrograms with these settings."""

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
        said = asdict(replace(self, methods=()))
        del said["methods"]
        return {**said, "reference": self.reference_in_full, "source": dict(self.source)}

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
    """The methods of one's own that `--method` gives. Raises UsageError where it gives none."""
    try:
        return own_methods(texts)
    except OwnMethodError as error:
        raise UsageError(f"--method: {error}") from None


def base_variant(text: str, geometry: str, gpu: bool | None = None, known: Mapping[str, Method] = METHODS) -> Variant:
    """The reference for a geometry; `gpu` is as in `Method.problem`.

    Raises UsageError where it is no variant or cannot run.
    """
    return _base(text, PIXEL_STAGES, gpu, known, resizes=geometry != "identity")


def base_of_speech(text: str, known: Mapping[str, Method] = METHODS) -> Variant:
    """The reference for recordings. Raises UsageError where it is no variant or cannot run."""
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
    """A size as manifests hold it: 0 for none, a number, or a list of two."""
    return list(size) if len(size) > 1 else sum(size)


def size_from_json(value: int | list[int]) -> Size:
    """The inverse of `size_to_json`."""
    return tuple(value) if isinstance(value, list) else (value,) if value else ()
