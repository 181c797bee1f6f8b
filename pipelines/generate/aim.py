"""The reference and the configuration that generate.py's options ask for.

Images have a geometry and a format, recordings have spectrogram settings. Refuses one's options for the other.
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
from pipelines.datasets import DATASETS
from pipelines.errors import UsageError
from pipelines.generate.config import Config, ImageConfig, SpeechConfig, base_of_speech, base_variant, describe
from pipelines.generate.options import Options
from pipelines.generate.sources.find import Found
from pipelines.generate.target import choose_geometry, choose_mel

# The default format of images.
_FORMAT = "png"


class Aim(Protocol):
    """What a run is to make, before its source is listed."""

    def base(self, gpu: bool | None = None, known: Mapping[str, Method] = METHODS) -> Variant:
        """The reference; `gpu` is as in `Method.problem`. Raises UsageError if it is unknown or cannot run."""

    def config(self, found: Found, own: tuple[Method, ...], draws: tuple[Method, ...] = ()) -> Config:
        """The configuration for a source, with custom methods (`own`) and drawn ones."""


def aim_of(options: Options) -> Aim:
    """What the options ask for. Raises UsageError if it does not suit the dataset."""
    if options.dataset not in SPOKEN:
        return _Images(options, *choose_geometry(options.dataset, options.target))
    if options.image_format is not None:
        raise UsageError(
            "--image-format applies only to images: leave it out, since spectrograms are float32 arrays (mel.npy)"
        )
    if options.methods:
        raise UsageError("--method applies only to images: recordings use only the methods of --list-variants")
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
