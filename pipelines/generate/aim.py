"""What a run of generate.py aims at: the reference and the configuration that its options ask for.

Images have a geometry and a format, recordings the settings of their spectrograms. Refuses options of the one for the
other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from generators.audio.settings import MelSettings
from generators.geometry import Size
from generators.registry import METHODS, Method
from generators.variant import Variant
from manifests.mels import SPOKEN
from pipelines.errors import UsageError
from pipelines.generate.config import Config, ImageConfig, SpeechConfig, base_of_speech, base_variant, describe
from pipelines.generate.datasets import DATASETS
from pipelines.generate.options import Options
from pipelines.generate.sources.find import Found
from pipelines.generate.target import choose_geometry, choose_mel

# What images are written as where nothing else is asked for.
_FORMAT = "png"


class Aim(Protocol):
    """What a run aims at, before its source is listed."""

    def base(self, gpu: bool | None = None, known: Mapping[str, Method] = METHODS) -> Variant:
        """The reference; `gpu` is as in `Method.problem`. Raises UsageError where it is none, or cannot run."""

    def config(self, found: Found, own: tuple[Method, ...], draws: tuple[Method, ...] = ()) -> Config:
        """The configuration for a source, with methods of one's own, and those that are drawn."""


def aim_of(options: Options) -> Aim:
    """What is asked for. Raises UsageError where it does not suit the dataset."""
    if options.dataset not in SPOKEN:
        return _Images(options, *choose_geometry(options.dataset, options.target))
    if options.image_format is not None:
        raise UsageError("--image-format is of images: spectrograms are float32 arrays (mel.npy), leave it out")
    if options.methods:
        raise UsageError("--method is of images: recordings go through the methods of --list-variants alone")
    return _Recordings(options, choose_mel(options.target))


@dataclass(frozen=True)
class _Images:
    options: Options
    geometry: str
    size: Size

    def base(self, gpu: bool | None = None, known: Mapping[str, Method] = METHODS) -> Variant:
        return base_variant(self.options.reference, self.geometry, gpu, known)

    def config(self, found: Found, own: tuple[Method, ...], draws: tuple[Method, ...] = ()) -> Config:
        return ImageConfig(
            dataset=self.options.dataset,
            geometry=self.geometry,
            size=self.size,
            reference=self.options.reference,
            image_format=self.options.image_format or _FORMAT,
            samples_per_shard=_per_shard(self.options),
            source=describe(found),
            methods=own,
            split=self.options.split,
            draws=draws,
        )


@dataclass(frozen=True)
class _Recordings:
    options: Options
    mel: MelSettings

    def base(self, gpu: bool | None = None, known: Mapping[str, Method] = METHODS) -> Variant:
        return base_of_speech(self.options.reference, known)

    def config(self, found: Found, own: tuple[Method, ...], draws: tuple[Method, ...] = ()) -> Config:
        return SpeechConfig(
            dataset=self.options.dataset,
            mel=self.mel,
            reference=self.options.reference,
            samples_per_shard=_per_shard(self.options),
            source=describe(found),
            methods=own,
        )


def _per_shard(options: Options) -> int:
    return options.samples_per_shard or DATASETS[options.dataset].samples_per_shard
