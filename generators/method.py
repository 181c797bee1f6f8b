"""What a method is: one library's way of doing one stage; and what a library is, installed or in another environment.

Imports no library: `Method.load` and its like import a method's module, `generators.pixels.foreign` when it is needed.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Stage = Literal["decode", "resize", "color", "pool", "upsample", "precision", "boxes", "resample", "stft"]
PIXEL_STAGES: tuple[Stage, ...] = ("decode", "resize", "color")
MODEL_STAGES: tuple[Stage, ...] = ("pool", "upsample", "precision", "boxes")
STAGES: tuple[Stage, ...] = (*PIXEL_STAGES, *MODEL_STAGES)
# Recordings have only these.
AUDIO_STAGES: tuple[Stage, ...] = ("resample", "stft")
# Separates a token from a version.
AT = "-"
# The largest batch that a method gets.
MAX_BATCH = 32


class LostError(RuntimeError):
    """A library or its GPU fails on everything in this process from now on; in another process it may still work."""


class UnavailableError(ValueError):
    """A release of a library is not available on this machine; the message is one line that says why and what to do."""


@dataclass(frozen=True)
class Library:
    """A library that provides methods: its module in this project, and the distribution that installs it.

    `program` calls other versions of it, in `pixels/foreign/programs`; without a program there are none. `group` is the
    word of `--variant` for all its methods, if there is one.
    """

    name: str
    module: str
    distribution: str
    program: str = ""
    group: str = ""

    def function(self, name: str, module: str = "") -> Callable[..., Any]:
        """A function of the library's module, or of another module."""
        found: Callable[..., Any] = getattr(importlib.import_module(module or self.module), name)
        return found

    def problem(self, module: str = "") -> str | None:
        """Why the library cannot be used and what to do about it, in one line; None if it can."""
        try:
            importlib.import_module(module or self.module)
        except ImportError as error:
            return f"{self.name} cannot be imported ({str(error).splitlines()[0]}): pip install {self.distribution}"
        return None

    @property
    def ready(self) -> bool:
        """Whether it is installed; releases need not be before they are asked for."""
        return True

    @property
    def has_versions(self) -> bool:
        """Whether other versions are available."""
        return bool(self.program)

    def versions(self) -> dict[str, str]:
        """The versions of the library and of the codecs in it, by name (`Pillow`, `Pillow/libjpeg-turbo`)."""
        found: dict[str, str] = importlib.import_module(self.module).versions()
        return found

    def newest(self) -> Sequence[str]:
        """The newest available release of each major version, the oldest first. Raises UnavailableError."""
        found: Sequence[str] = _foreign().newest_of_each_major(self.distribution)
        return found

    def nearest(self, version: str) -> str:
        """This version if it is available, or else the first later one that is. Raises UnavailableError."""
        found: str = _foreign().nearest(self.distribution, version)
        return found

    def gpu_problem(self) -> str | None:
        """Why there is no GPU for the library, in a few words; None if there is. For libraries that need one."""
        found: str | None = importlib.import_module(self.module).gpu_problem()
        return found


@dataclass(frozen=True)
class Release(Library):
    """A version of a library in its own environment and process; `version` is its distribution's.

    `pinned` marks the version that a token without one stands for, because the library is not installed in the
    project's environment. Without a version, it is a program installed on this machine, the only one there is.
    """

    version: str = ""
    pinned: bool = False

    def function(self, name: str, module: str = "") -> Callable[..., Any]:
        """A function of the library's program."""
        return functools.partial(_foreign().call, self.program, self.distribution, self.version, name)

    def problem(self, module: str = "") -> str | None:
        """What the user has to install; None if nothing. Whether a release can be installed shows in `prepare`."""
        found: str | None = _foreign().problem(self.distribution, self.version)
        return found

    @property
    def ready(self) -> bool:
        made: bool = _foreign().is_ready(self.distribution, self.version)
        return made

    @property
    def has_versions(self) -> bool:
        return bool(self.version)

    def prepare(self) -> None:
        """Make the release's environment, unless this machine has it. Raises UnavailableError."""
        _foreign().prepare(self.distribution, self.version)

    def versions(self) -> dict[str, str]:
        """As for any library, plus what else was installed. If a version was asked for, names contain it
        (`Pillow-6.2.1/zlib`), since a set can be made by several.
        """
        found: dict[str, str] = _foreign().versions(self.program, self.distribution, self.version)
        if self.pinned:
            return found
        return {re.sub("^[^/]+", rf"\g<0>{AT}{self.version}", name): value for name, value in found.items()}


def _foreign() -> Any:
    return importlib.import_module("generators.pixels.foreign")


@dataclass(frozen=True)
class Method:
    """One library's way of doing one stage, as a frozen value: a token, a function and its options.

    The function of a method that needs a GPU takes a batch, a sequence of argument tuples, and returns a list.
    `instead` is the token of the method that does the same on the CPU. `module` is the function's, if it is not the
    library's own. `calibrated`: the function also takes the images that ranges are calibrated on. `shrinks`: a decoder
    that is told how far it may shrink the image. `whole`: a resize method that takes an encoded image, since it decodes
    and resizes in one step. `how` describes what it does, for libraries with several ways of doing it.
    """

    token: str
    stage: Stage
    library: Library
    function: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    paper: bool = False
    gpu: bool = False
    instead: str = ""
    module: str = ""
    calibrated: bool = False
    shrinks: bool = False
    whole: bool = False
    how: str = field(default="", compare=False)

    def problem(self, gpu: bool | None = None) -> str | None:
        """Why the method cannot run and what to do about it, in one line; None if it can.

        `gpu` says whether there is a GPU for it, perhaps on another machine; by default, this machine is checked.
        """
        if problem := self.library.problem(self.module):
            return problem
        if not self.gpu or gpu:
            return None
        lacking = self.library.gpu_problem() if gpu is None else "the cluster has none"
        return lacking and (
            f"needs an NVIDIA GPU, and none was found ({lacking}): use {self.instead} (on the CPU), or join a cluster "
            "with GPUs by --address"
        )

    def load(self) -> Callable[..., Image]:
        """The function of a pixel method. decode: `(data)`, or `(data, shrink)` if the method shrinks (by 1, 2, 4 or
        8); resize: `(image, width, height)`, or `(data, width, height)` if it is whole; color: `(image)`.
        """
        if self.gpu:
            batch = self.load_batch()
            return lambda *arguments: batch([arguments])[0]
        return self._function()

    def load_noise(self) -> Callable[..., Any]:
        """The function of a model method. It returns the changes it made to `(model)`, or to `(model, images)` if it is
        calibrated. For boxes it takes nothing and returns the noise as a value.
        """
        return self._function()

    def load_audio(self) -> Callable[..., Floats]:
        """The function of a sound method. resample: `(samples, rate, target)` to samples, rates in Hz; stft:
        `(samples, settings)` to a log-mel spectrogram. Both raise ValueError with the library's reason.
        """
        return self._function()

    def load_batch(self) -> Callable[[Sequence[tuple[Any, ...]]], list[Image]]:
        """The function of a method that needs a GPU: takes up to `MAX_BATCH` tuples of the arguments of `load`'s.

        If it fails on one image it raises for the whole batch, and raises LostError if it will keep failing.
        """
        return self._function()

    def _function(self) -> Callable[..., Any]:
        return functools.partial(self.library.function(self.function, self.module), **self.options)
