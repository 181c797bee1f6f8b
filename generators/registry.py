"""The methods, a row each: token, stage, library, function and options.

Adding a library is one new module in `pixels/`, a row in `LIBRARIES` and its rows in `METHODS`; adding a kind of noise
in a model, one in `models/`. Methods that need a GPU are called with batches, and their module has a function
`gpu_problem` besides. A library that has a program in `pixels/foreign/programs` can be had in other versions: `find`
makes a method of such a token. Imports no library: a method's module is imported by `Method.load`.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Stage = Literal["decode", "resize", "color", "pool", "upsample", "precision", "boxes"]
PIXEL_STAGES: tuple[Stage, ...] = ("decode", "resize", "color")
MODEL_STAGES: tuple[Stage, ...] = ("pool", "upsample", "precision", "boxes")
STAGES: tuple[Stage, ...] = (*PIXEL_STAGES, *MODEL_STAGES)
# Between a token and a version.
AT = "-"
# How many images a method that takes batches is given at a time, at most.
MAX_BATCH = 32


class LostError(RuntimeError):
    """A library or its GPU does nothing more for this process, whatever it is asked; for another, it may still."""


class UnavailableError(ValueError):
    """A release of a library cannot be had on this machine; the message is one line that says why and what to do."""


@dataclass(frozen=True)
class Library:
    """A library that methods come from: its module here, and the distribution that provides it.

    `program` is what calls another version of it, in `pixels/foreign/programs`; without one there is no other version.
    """

    name: str
    module: str
    distribution: str
    program: str = ""

    def function(self, name: str, module: str = "") -> Callable[..., Any]:
        """A function of the library's module, or of another one."""
        found: Callable[..., Any] = getattr(importlib.import_module(module or self.module), name)
        return found

    def problem(self, module: str = "") -> str | None:
        """Why the library cannot be used and what to do about it, in one line; None if it can."""
        try:
            importlib.import_module(module or self.module)
        except ImportError as error:
            return f"{self.name} cannot be imported ({str(error).splitlines()[0]}): pip install {self.distribution}"
        return None

    def versions(self) -> dict[str, str]:
        """Versions of the library and of the codecs inside it, by name (`Pillow`, `Pillow/libjpeg-turbo`)."""
        found: dict[str, str] = importlib.import_module(self.module).versions()
        return found

    def newest(self) -> Sequence[str]:
        """The newest release of each major version that can be had here, the oldest first. Raises UnavailableError."""
        found: Sequence[str] = _foreign().newest_of_each_major(self.distribution)
        return found

    def nearest(self, version: str) -> str:
        """This version, or else the first later one that can be had here. Raises UnavailableError."""
        found: str = _foreign().nearest(self.distribution, version)
        return found

    def gpu_problem(self) -> str | None:
        """Why this machine has no GPU for the library, in a few words; None if it has. For those that need one."""
        found: str | None = importlib.import_module(self.module).gpu_problem()
        return found


@dataclass(frozen=True)
class Release(Library):
    """Another version of a library, in an environment and a process of its own: `version` is its distribution's."""

    version: str = ""

    def function(self, name: str, module: str = "") -> Callable[..., Any]:
        """A function of the library's program."""
        return functools.partial(_foreign().call, self.program, self.distribution, self.version, name)

    def problem(self, module: str = "") -> str | None:
        """None: whether a release can be had is known when it is prepared."""
        return None

    @property
    def ready(self) -> bool:
        """Whether the environment of the release is there."""
        made: bool = _foreign().is_made(self.distribution, self.version)
        return made

    def prepare(self) -> None:
        """Make the environment of the release, once on a machine. Raises UnavailableError."""
        _foreign().environment(self.distribution, self.version)

    def versions(self) -> dict[str, str]:
        """As of any library, each by a name with the version in it (`Pillow-6.2.1/zlib`); Python, and a digest."""
        found = _foreign().versions(self.program, self.distribution, self.version)
        return {re.sub("^[^/]+", rf"\g<0>{AT}{self.version}", name): value for name, value in found.items()}


def _foreign() -> Any:
    return importlib.import_module("generators.pixels.foreign")


LIBRARIES: Mapping[str, Library] = MappingProxyType(
    {
        library.name: library
        for library in (
            Library("Pillow", "generators.pixels.pillow", "pillow", "pillow"),
            Library("Pillow with LittleCMS", "generators.pixels.littlecms", "pillow", "littlecms"),
            Library("OpenCV", "generators.pixels.opencv", "opencv-python-headless", "opencv"),
            Library("FFmpeg", "generators.pixels.ffmpeg", "av", "ffmpeg"),
            Library("DALI", "generators.pixels.dali", "nvidia-dali-cuda120", "dali"),
            Library("DALI on a GPU", "generators.pixels.dali_gpu", "nvidia-dali-cuda120"),
            Library("NumPy", "generators.pixels.ascend", "numpy"),
            Library("ONNX", "generators.models", "onnx-ir onnx"),
        )
    }
)


@dataclass(frozen=True)
class Method:
    """One library's way to do one stage, as a frozen value: a token, a function and its options.

    The function of a method that needs a GPU takes a batch, a sequence of tuples of arguments, and returns a list.
    `instead` is the token of the method that does the same on the CPU. `module` is the function's, where it is not the
    library's own. `calibrated`: the function also takes the images that ranges are found on.
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

    def problem(self, gpu: bool | None = None) -> str | None:
        """Why the method cannot run and what to do about it, in one line; None if it can.

        `gpu` says whether there is a GPU for it, on another machine perhaps; by default, this machine is looked at.
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
        """The function of a method of pixels: `(data)` for decode, `(image, width, height)` for resize, `(image)` for
        color.
        """
        if self.gpu:
            batch = self.load_batch()
            return lambda *arguments: batch([arguments])[0]
        return self._function()

    def load_noise(self) -> Callable[..., Any]:
        """The function of a method of models: `(model)`, or `(model, images)` where it is calibrated, to the changes;
        of boxes: `()` to a value that says what becomes of them.
        """
        return self._function()

    def load_batch(self) -> Callable[[Sequence[tuple[Any, ...]]], list[Image]]:
        """The function of a method that needs a GPU: for at most `MAX_BATCH` images, what `load`'s takes for each.

        It raises for the whole batch where it fails on one, and LostError where it can do nothing more.
        """
        return self._function()

    def _function(self) -> Callable[..., Any]:
        return functools.partial(self.library.function(self.function, self.module), **self.options)


def _pixels() -> Iterable[Method]:
    pillow, littlecms, opencv, ffmpeg, dali, dali_gpu, numpy, _ = LIBRARIES.values()
    yield Method("pil", "decode", pillow, "decode", paper=True)
    yield Method("opencv", "decode", opencv, "decode", paper=True)
    yield Method("ffmpeg", "decode", ffmpeg, "decode", paper=True)
    yield Method("dali", "decode", dali, "decode", {"fast_idct": False}, paper=True)
    for token, fancy in (("dali_gpu", False), ("dali_gpu_fancy", True)):
        yield Method(token, "decode", dali_gpu, "decode", {"fancy": fancy}, gpu=True, instead="dali")
    yield Method("dali_fast", "decode", dali, "decode", {"fast_idct": True})
    yield Method("opencv_exif", "decode", opencv, "decode", {"exif": True})
    yield Method("pil_srgb", "decode", littlecms, "decode")
    for name in ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"):
        yield Method(f"pil_{name}", "resize", pillow, "resize", {"filter": name.upper()}, paper=True)
    for name, flag in (
        ("nearest", "INTER_NEAREST"),
        ("bilinear", "INTER_LINEAR"),
        ("area", "INTER_AREA"),
        ("bicubic", "INTER_CUBIC"),
        ("lanczos", "INTER_LANCZOS4"),
    ):
        yield Method(f"opencv_{name}", "resize", opencv, "resize", {"interpolation": flag}, paper=True)
    yield Method("opencv_linear_exact", "resize", opencv, "resize", {"interpolation": "INTER_LINEAR_EXACT"})
    for name, kind, antialias in (
        ("nearest", "INTERP_NN", False),
        ("linear", "INTERP_LINEAR", False),
        ("cubic", "INTERP_CUBIC", False),
        ("lanczos3", "INTERP_LANCZOS3", False),
        ("triangular", "INTERP_TRIANGULAR", True),
        ("linear_aa", "INTERP_LINEAR", True),
    ):
        yield Method(f"dali_{name}", "resize", dali, "resize", {"interpolation": kind, "antialias": antialias})
    linear = {"interpolation": "INTERP_LINEAR", "antialias": False}
    yield Method("dali_gpu_linear", "resize", dali_gpu, "resize", linear, gpu=True, instead="dali_linear")
    for name in ("bilinear", "bicubic", "lanczos", "area", "spline"):
        yield Method(f"ffmpeg_{name}", "resize", ffmpeg, "resize", {"flags": name.upper()})
    yield Method("nv12_ascend", "color", numpy, "nv12_ascend", paper=True)
    yield Method("nv12_opencv", "color", opencv, "nv12")
    yield Method("nv12_ffmpeg", "color", ffmpeg, "nv12")
    yield Method("yuv444_float", "color", numpy, "yuv444_float")
    yield Method("nv12_full", "color", numpy, "nv12_full")
    for token in ("nv12_bt709", "yuv_601_as_709", "yuv_limited_as_full"):
        yield Method(token, "color", ffmpeg, token)


def _models() -> Iterable[Method]:
    numpy, onnx = LIBRARIES["NumPy"], LIBRARIES["ONNX"]
    pool, upsample, precision = (f"generators.models.{name}" for name in ("pool", "upsample", "precision"))
    yield Method("ceil_mode", "pool", onnx, "ceil_mode", paper=True, module=pool)
    yield Method("floor_mode", "pool", onnx, "floor_mode", module=pool)
    yield Method("ceil_mode_average", "pool", onnx, "ceil_mode_average", module=pool)
    for name in ("upsample_bilinear", "upsample_bilinear_corners", "upsample_nearest"):
        yield Method(name, "upsample", onnx, name, paper=name == "upsample_bilinear", module=upsample)
    yield Method("fp16", "precision", onnx, "fp16", paper=True, module=precision)
    for name, per_channel in (("int8", True), ("int8_tensor", False)):
        options = {"per_channel": per_channel}
        paper = name == "int8"
        yield Method(name, "precision", onnx, "int8", options, paper, module=precision, calibrated=True)
    boxes = "generators.boxes"
    yield Method("box_offset", "boxes", numpy, "noise", {"offset": 1}, paper=True, module=boxes)
    everywhere = {"offset": 1, "everywhere": True}
    yield Method("box_offset_all", "boxes", numpy, "noise", everywhere, module=boxes)
    yield Method("box_round", "boxes", numpy, "noise", {"rounded": True}, module=boxes)


METHODS: Mapping[str, Method] = MappingProxyType({m.token: m for m in (*_pixels(), *_models())})

# A version as PyPI writes it (PEP 440) but for epochs and local ones.
_VERSION = re.compile(r"\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?")


def find(token: str, known: Mapping[str, Method] | None = None) -> Method | None:
    """The method of a token, which may name a version of its library (`pil_box-6.2.1`); None where there is none.

    `known` are the methods that there are, by default those of this table.
    """
    methods = METHODS if known is None else known
    if token in methods:
        return methods[token]
    name, _, version = token.partition(AT)
    method = methods.get(name)
    if method is None:
        return None
    if not (_VERSION.fullmatch(version) and has_versions(method)):
        return None
    library = method.library
    release = Release(**{field.name: getattr(library, field.name) for field in fields(library)}, version=version)
    return replace(method, token=token, library=replace(release, name=f"{library.name} {version}"))


def order(token: str) -> tuple[int, tuple[int, ...]]:
    """Where a token stands: its method's place in the table, and its version after the method without one.

    A token of no method stands after all that there are.
    """
    name, _, version = token.partition(AT)
    if find(token) is None:
        return len(METHODS), ()
    return list(METHODS).index(name), tuple(map(int, re.findall(r"\d+", version)))


def plain(token: str) -> str:
    """A token without its version."""
    return token.partition(AT)[0] if find(token) else token


def has_versions(method: Method) -> bool:
    """Whether other versions of a method's library can be had."""
    return bool(method.library.program)
