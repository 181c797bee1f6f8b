"""What a variant is: the registry of methods, the token grammar, and canonical names.

Owns the read-only registry (`METHODS`), the parsing of what a user writes after `--variant`, and the one canonical
name that each variant has. Refuses unknown tokens (naming the nearest), two methods for one stage, and methods for a
stage that the geometry leaves out. Imports no image library: a method's module is imported by `Method.load`.

Adding a library is one new module beside this one, a row in `LIBRARIES` and its rows in `METHODS`. Methods that need a
GPU are called with batches, and their module has a function `gpu_problem` besides.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Stage = Literal["decode", "resize", "color"]
STAGES: tuple[Stage, ...] = ("decode", "resize", "color")
# How many images a method that takes batches is given at a time, at most.
MAX_BATCH = 32


class VariantError(ValueError):
    """What a user wrote is not a variant; the message is one line that says what to write instead."""


class GpuLostError(RuntimeError):
    """A GPU does nothing more for this process, whatever it is asked; another process may still use it."""


@dataclass(frozen=True)
class Library:
    """A library that methods come from: its module here, and the distribution that provides it."""

    name: str
    module: str
    distribution: str

    def versions(self) -> dict[str, str]:
        """Versions of the library and of the codecs inside it, by name (`Pillow`, `Pillow/libjpeg-turbo`)."""
        found: dict[str, str] = importlib.import_module(self.module).versions()
        return found

    def gpu_problem(self) -> str | None:
        """Why this machine has no GPU for the library, in a few words; None if it has. For those that need one."""
        found: str | None = importlib.import_module(self.module).gpu_problem()
        return found


LIBRARIES: Mapping[str, Library] = MappingProxyType(
    {
        library.name: library
        for library in (
            Library("Pillow", "generators.pillow", "pillow"),
            Library("OpenCV", "generators.opencv", "opencv-python-headless"),
            Library("FFmpeg", "generators.ffmpeg", "av"),
            Library("DALI", "generators.dali", "nvidia-dali-cuda120"),
            Library("DALI on a GPU", "generators.dali_gpu", "nvidia-dali-cuda120"),
            Library("NumPy", "generators.ascend", "numpy"),
        )
    }
)


@dataclass(frozen=True)
class Method:
    """One library's way to do one stage, as a frozen value: a token, a function and its options.

    The function of a method that needs a GPU takes a batch, a sequence of tuples of arguments, and returns a list.
    `instead` is the token of the method that does the same on the CPU.
    """

    token: str
    stage: Stage
    library: Library
    function: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    paper: bool = False
    gpu: bool = False
    instead: str = ""

    def problem(self, gpu: bool | None = None) -> str | None:
        """Why the method cannot run and what to do about it, in one line; None if it can.

        `gpu` says whether there is a GPU for it, on another machine perhaps; by default, this machine is looked at.
        """
        try:
            importlib.import_module(self.library.module)
        except ImportError as error:
            reason = str(error).splitlines()[0]
            return f"{self.library.name} cannot be imported ({reason}): pip install {self.library.distribution}"
        if not self.gpu or gpu:
            return None
        lacking = self.library.gpu_problem() if gpu is None else "the cluster has none"
        return lacking and (
            f"needs an NVIDIA GPU, and none was found ({lacking}): use {self.instead} (on the CPU), or join a cluster "
            "with GPUs by --address"
        )

    def load(self) -> Callable[..., Image]:
        """The function that does it: `(data)` for decode, `(image, width, height)` for resize, `(image)` for color."""
        if self.gpu:
            batch = self.load_batch()
            return lambda *arguments: batch([arguments])[0]
        return self._function()

    def load_batch(self) -> Callable[[Sequence[tuple[Any, ...]]], list[Image]]:
        """The function of a method that needs a GPU: for at most `MAX_BATCH` images, what `load`'s takes for each.

        It raises for the whole batch where it fails on one, and GpuLostError where it can do nothing more.
        """
        return self._function()

    def _function(self) -> Callable[..., Any]:
        return functools.partial(getattr(importlib.import_module(self.library.module), self.function), **self.options)


def _methods() -> Iterable[Method]:
    pillow, opencv, ffmpeg, dali, dali_gpu, numpy = LIBRARIES.values()
    yield Method("pil", "decode", pillow, "decode", paper=True)
    yield Method("opencv", "decode", opencv, "decode", paper=True)
    yield Method("ffmpeg", "decode", ffmpeg, "decode", paper=True)
    yield Method("dali", "decode", dali, "decode", {"fast_idct": False}, paper=True)
    for token, fancy in (("dali_gpu", False), ("dali_gpu_fancy", True)):
        yield Method(token, "decode", dali_gpu, "decode", {"fancy": fancy}, gpu=True, instead="dali")
    yield Method("dali_fast", "decode", dali, "decode", {"fast_idct": True})
    yield Method("opencv_exif", "decode", opencv, "decode", {"exif": True})
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


METHODS: Mapping[str, Method] = MappingProxyType({method.token: method for method in _methods()})
GROUPS: tuple[str, ...] = ("decode", "resize", "color", "paper", "all")
REFERENCE = "reference"
DEFAULT_REFERENCE = "pil+pil_bilinear"


@dataclass(frozen=True)
class Variant:
    """One method for each stage, with its canonical name. `resize` or `color` is None where the stage is left out."""

    name: str
    decode: Method
    resize: Method | None
    color: Method | None

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods used, in stage order."""
        return tuple(method for method in (self.decode, self.resize, self.color) if method)

    @property
    def gpu(self) -> bool:
        """Whether one of the methods needs a GPU."""
        return any(method.gpu for method in self.methods)

    @property
    def spelled_out(self) -> dict[str, str]:
        """Every stage's token by stage name; `none` where the stage is left out."""
        stages = zip(STAGES, (self.decode, self.resize, self.color), strict=True)
        return {stage: method.token if method else "none" for stage, method in stages}


def _split(text: str) -> dict[Stage, Method]:
    chosen: dict[Stage, Method] = {}
    for token in text.split("+"):
        method = METHODS.get(token)
        if method is None:
            known = [*METHODS, *GROUPS, REFERENCE]
            near = difflib.get_close_matches(token, known, n=3, cutoff=0.5)
            hint = f"did you mean {', '.join(near)}?" if near else "see --list-variants"
            if token in (*GROUPS, REFERENCE):
                hint = f"{token} stands alone and cannot be joined with +"
            raise VariantError(f"unknown method {token!r} in variant {text!r}: {hint}")
        if method.stage in chosen:
            first = chosen[method.stage].token
            raise VariantError(
                f"variant {text!r} names two {method.stage} methods, {first} and {token}: keep one of them"
            )
        chosen[method.stage] = method
    return chosen


def reference(text: str = DEFAULT_REFERENCE, *, resizes: bool = True) -> Variant:
    """The variant that all others are compared with.

    A stage that `text` leaves out takes the default reference's method. With `resizes=False` (the `identity`
    geometry) the resize stage is left out altogether.
    """
    chosen = _split(DEFAULT_REFERENCE) | _split(text)
    resize = chosen["resize"] if resizes else None
    decode = chosen["decode"]
    return Variant((resize or decode).token, decode, resize, chosen.get("color"))


def parse(text: str, base: Variant) -> Variant:
    """The variant that `text` stands for, relative to the reference `base`.

    Tokens that equal the reference's are dropped from the name; if none is left, the name is the reference's.
    """
    if text == REFERENCE:
        return base
    chosen = _split(text)
    if base.resize is None and "resize" in chosen:
        raise VariantError(
            f"variant {text!r} names a resize method, but the identity geometry does not resize: "
            "leave it out, or choose another --geometry"
        )
    decode = chosen.get("decode", base.decode)
    resize = chosen.get("resize", base.resize)
    color = chosen.get("color", base.color)
    pairs = ((decode, base.decode), (resize, base.resize), (color, base.color))
    own = [method.token for method, theirs in pairs if method is not None and method != theirs]
    return Variant("+".join(own) or base.name, decode, resize, color)


def _group(name: str, base: Variant) -> list[str]:
    if name in STAGES:
        tokens = [method.token for method in METHODS.values() if method.stage == name]
    else:
        tokens = [method.token for method in METHODS.values() if name == "all" or method.paper]
        tokens.insert(0, REFERENCE)
    if base.resize is None and name != "resize":
        tokens = [token for token in tokens if token == REFERENCE or METHODS[token].stage != "resize"]
    return tokens


def expand(words: Iterable[str], base: Variant, gpu: bool | None = None) -> tuple[list[Variant], dict[str, str]]:
    """The variants that the words of `--variant` stand for, and the methods that were left out of groups.

    Words may be variants, groups or comma lists of them. A method that cannot run here is left out of a group (and
    returned with the reason) but refused when it is named. `gpu` is as in `Method.problem`.
    """
    found: dict[str, Variant] = {}
    skipped: dict[str, str] = {}
    for text in (part.strip() for word in words for part in word.split(",")):
        for member in _group(text, base) if text in GROUPS else [text]:
            variant = parse(member, base)
            problems = [(m.token, problem) for m in variant.methods if (problem := m.problem(gpu))]
            if problems and text in GROUPS:
                skipped.update(problems)
            elif problems:
                raise VariantError(f"{problems[0][0]} cannot run here: {problems[0][1]}")
            else:
                found.setdefault(variant.name, variant)
    return list(found.values()), skipped
