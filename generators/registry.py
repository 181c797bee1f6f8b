"""The table of methods, a row each: token, stage, library, function and options.

To add a library, add one module in `pixels/` or `audio/`, a row in `LIBRARIES` and its rows in `METHODS`; to add model
noise, a module in `models/`. Methods that need a GPU are called with batches, and their module also has a function
`gpu_problem`. A library with a program in `pixels/foreign/programs` is available in other versions: `find` makes a
method from a token with a version. A library that must not be installed in the project's own environment is a `Release`
in `LIBRARIES`: it has a program and no module. Imports no library: `Method.load` imports a method's module.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from types import MappingProxyType

from generators.method import (
    AT,
    AUDIO_STAGES,
    MAX_BATCH,
    MODEL_STAGES,
    PIXEL_STAGES,
    STAGES,
    Image,
    Library,
    LostError,
    Method,
    Release,
    Stage,
    UnavailableError,
)

# The table, and what it is made of, so that callers need only this module.
__all__ = [
    "AT",
    "AUDIO_STAGES",
    "LIBRARIES",
    "MAX_BATCH",
    "METHODS",
    "MODEL_STAGES",
    "PIXEL_STAGES",
    "STAGES",
    "Image",
    "Library",
    "LostError",
    "Method",
    "Release",
    "Stage",
    "UnavailableError",
    "find",
    "order",
    "plain",
]


def _pinned(name: str, distribution: str, program: str, version: str, group: str = "") -> Release:
    return Release(name, "", distribution, program, group, version, pinned=True)


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
            Library("soxr", "generators.audio.soxr", "soxr"),
            Library("SciPy", "generators.audio.scipy", "scipy"),
            Library("libswresample", "generators.audio.swresample", "av"),
            Library("DALI for sound", "generators.audio.dali", "nvidia-dali-cuda120"),
            _pinned("TensorFlow", "tensorflow-cpu", "tensorflow", "2.21.0", "tensorflow"),
            _pinned("torchvision", "torchvision", "torchvision", "0.28.0", "torch"),
            _pinned("libvips", "pyvips-binary", "vips", "8.18.7", "libvips"),
            _pinned("sharp", "sharp", "sharp", "0.35.5", "libvips"),
            _pinned("Pillow-SIMD", "pillow-simd", "simd", "12.1.1.post0"),
            _pinned("scikit-image", "scikit-image", "skimage", "0.26.0", "scikit-image"),
            _pinned("Chromium", "chromium", "chromium", "", "browser"),
            _pinned("librosa", "librosa", "librosa", "0.11.0", "librosa"),
            _pinned("torchvision's PyTorch", "torchvision", "torch", "0.28.0", "torch"),
            _pinned("TensorFlow for sound", "tensorflow-cpu", "tensorflow", "2.21.0", "tensorflow"),
        )
    }
)


_FAST = "fast inverse DCT"


def _how(name: str, antialias: bool = False) -> str:
    if name in ("nearest", "area"):
        return {"nearest": "nearest neighbour", "area": "mean of the area"}[name]
    return f"{name}, {'antialiased' if antialias else 'not antialiased'}"


def _pixels() -> Iterable[Method]:
    littlecms = LIBRARIES["Pillow with LittleCMS"]
    names = ("Pillow", "OpenCV", "FFmpeg", "DALI", "DALI on a GPU", "NumPy")
    pillow, opencv, ffmpeg, dali, dali_gpu, numpy = (LIBRARIES[name] for name in names)
    names = ("TensorFlow", "torchvision", "libvips", "sharp", "scikit-image", "Chromium")
    tensorflow, torchvision, vips, sharp, skimage, chromium = (LIBRARIES[name] for name in names)
    yield Method("pil", "decode", pillow, "decode", paper=True)
    yield Method("opencv", "decode", opencv, "decode", paper=True)
    yield Method("ffmpeg", "decode", ffmpeg, "decode", paper=True)
    yield Method("dali", "decode", dali, "decode", {"fast_idct": False}, paper=True)
    for token, fancy in (("dali_gpu", False), ("dali_gpu_fancy", True)):
        yield Method(token, "decode", dali_gpu, "decode", {"fancy": fancy}, gpu=True, instead="dali")
    yield Method("dali_fast", "decode", dali, "decode", {"fast_idct": True}, how=_FAST)
    yield Method("opencv_exif", "decode", opencv, "decode", {"exif": True}, how="turned as EXIF says")
    yield Method("tf", "decode", tensorflow, "decode", how=f"{_FAST}, its default")
    accurate = {"dct_method": "INTEGER_ACCURATE"}
    yield Method("tf_accurate", "decode", tensorflow, "decode", accurate, how="accurate inverse DCT")
    yield Method("torchvision", "decode", torchvision, "decode")
    yield Method("vips", "decode", vips, "decode")
    yield Method("chromium", "decode", chromium, "decode", how="colour profiles applied")
    yield Method("pil_srgb", "decode", littlecms, "decode", how="colour profiles applied")
    for token, library in (("pil_draft", pillow), ("opencv_reduced", opencv), ("vips_shrink", vips)):
        yield Method(token, "decode", library, "decode_shrunk", shrinks=True, how="shrunk while it decodes")
    for name in ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"):
        yield Method(
            f"pil_{name}", "resize", pillow, "resize", {"filter": name.upper()}, paper=True, how=_how(name, True)
        )
    for name, flag in (
        ("nearest", "INTER_NEAREST"),
        ("bilinear", "INTER_LINEAR"),
        ("area", "INTER_AREA"),
        ("bicubic", "INTER_CUBIC"),
        ("lanczos", "INTER_LANCZOS4"),
    ):
        yield Method(f"opencv_{name}", "resize", opencv, "resize", {"interpolation": flag}, paper=True, how=_how(name))
    exact = {"interpolation": "INTER_LINEAR_EXACT"}
    yield Method("opencv_linear_exact", "resize", opencv, "resize", exact, how="linear, not antialiased, bit-exact")
    for name, kind, antialias in (
        ("nearest", "INTERP_NN", False),
        ("linear", "INTERP_LINEAR", False),
        ("cubic", "INTERP_CUBIC", False),
        ("lanczos3", "INTERP_LANCZOS3", False),
        ("triangular", "INTERP_TRIANGULAR", True),
        ("linear_aa", "INTERP_LINEAR", True),
    ):
        options = {"interpolation": kind, "antialias": antialias}
        how = _how(name.removesuffix("_aa"), antialias)
        yield Method(f"dali_{name}", "resize", dali, "resize", options, how=how)
    linear = {"interpolation": "INTERP_LINEAR", "antialias": False}
    how = _how("linear")
    yield Method("dali_gpu_linear", "resize", dali_gpu, "resize", linear, gpu=True, instead="dali_linear", how=how)
    for name in ("bilinear", "bicubic", "lanczos", "area", "spline"):
        yield Method(f"ffmpeg_{name}", "resize", ffmpeg, "resize", {"flags": name.upper()}, how=f"swscale's {name}")
    for name in ("nearest", "bilinear", "bicubic", "lanczos3", "area"):
        yield Method(f"tf_{name}", "resize", tensorflow, "resize", {"method": name}, how=_how(name))
    for name in ("bilinear", "bicubic", "lanczos3"):
        options = {"method": name, "antialias": True}
        yield Method(f"tf_{name}_aa", "resize", tensorflow, "resize", options, how=_how(name, True))
    how = "bilinear of TensorFlow 1, not antialiased and half a pixel off"
    yield Method("tf1_bilinear", "resize", tensorflow, "resize_v1", how=how)
    for name in ("nearest", "bilinear", "bicubic"):
        options = {"interpolation": name, "antialias": True}
        yield Method(f"torchvision_{name}", "resize", torchvision, "resize", options, how=_how(name, True))
    for name in ("bilinear", "bicubic"):
        options = {"interpolation": name, "antialias": False}
        yield Method(f"torchvision_{name}_noaa", "resize", torchvision, "resize", options, how=_how(name))
    for name in ("nearest", "linear", "cubic", "mitchell", "lanczos3"):
        yield Method(f"vips_{name}", "resize", vips, "resize", {"kernel": name}, how=_how(name, True))
    how = f"{_how('lanczos3', True)}, shrunk while it decodes"
    yield Method("sharp_lanczos3", "resize", sharp, "resize", {"kernel": "lanczos3"}, whole=True, how=how)
    for token, smooth in (("skimage_bilinear", False), ("skimage_bilinear_aa", True)):
        options = {"anti_aliasing": smooth}
        yield Method(token, "resize", skimage, "resize", options, how=_how("bilinear", smooth))
    yield Method("chromium_canvas", "resize", chromium, "resize", how="a canvas as it smoothes by default")
    for name in ("bilinear", "bicubic", "lanczos"):
        options = {"filter": name.upper()}
        yield Method(f"simd_{name}", "resize", LIBRARIES["Pillow-SIMD"], "resize", options, how=_how(name, True))
    yield Method("nv12_ascend", "color", numpy, "nv12_ascend", paper=True, how="NV12 by Ascend's integers")
    yield Method("nv12_opencv", "color", opencv, "nv12")
    yield Method("nv12_ffmpeg", "color", ffmpeg, "nv12")
    yield Method("yuv444_float", "color", numpy, "yuv444_float", how="the paper's equations 5 and 6")
    yield Method("nv12_full", "color", numpy, "nv12_full", how="NV12 of full range")
    for token, how in (
        ("nv12_bt709", "NV12 by BT.709's matrix"),
        ("yuv_601_as_709", "made with BT.601, read with BT.709"),
        ("yuv_limited_as_full", "limited range read as full"),
    ):
        yield Method(token, "color", ffmpeg, token, how=how)


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
    how = "weights 8 bits beforehand, what they are applied to at each run"
    yield Method("int8_dynamic", "precision", onnx, "int8_dynamic", module=precision, how=how)
    boxes = "generators.boxes"
    yield Method("box_offset", "boxes", numpy, "noise", {"offset": 1}, paper=True, module=boxes)
    everywhere = {"offset": 1, "everywhere": True}
    yield Method("box_offset_all", "boxes", numpy, "noise", everywhere, module=boxes)
    yield Method("box_round", "boxes", numpy, "noise", {"rounded": True}, module=boxes)


def _audio() -> Iterable[Method]:
    names = ("soxr", "SciPy", "libswresample", "DALI for sound", "NumPy")
    soxr, scipy, swresample, dali, plain = (LIBRARIES[name] for name in names)
    numpy, linear = "generators.audio.numpy", "generators.audio.linear"
    for name, how in (
        ("hq", "high quality, its default and librosa's"),
        ("vhq", "very high quality"),
        ("mq", "medium quality"),
        ("lq", "low quality"),
        ("qq", "quick: cubic interpolation"),
    ):
        yield Method(f"soxr_{name}", "resample", soxr, "resample", {"quality": name.upper()}, how=how)
    yield Method("scipy_polyphase", "resample", scipy, "resample_poly", how="polyphase filter, its defaults")
    yield Method("scipy_fourier", "resample", scipy, "resample", how="by Fourier transform")
    yield Method("swresample", "resample", swresample, "resample", how="its defaults, the ffmpeg program's")
    yield Method("dali_resample", "resample", dali, "resample", how="its defaults: windowed sinc, no filter")
    how = "linear interpolation, no filter"
    yield Method("linear", "resample", plain, "resample", module=linear, how=how)
    how = "left out: taken for samples of the rate that is asked for"
    yield Method("no_resampling", "resample", plain, "unchanged", module=linear, how=how)
    for token, function, options, how in (
        ("numpy_stft", "stft", {}, "Tacotron 2's and FastSpeech 2's recipe"),
        ("numpy_symmetric", "stft", {"periodic": False}, "the recipe with a symmetric window"),
        ("numpy_zero_padding", "stft", {"padding": "constant"}, "the recipe with zeros before and after"),
        ("numpy_uncentred", "stft", {"padding": None}, "the recipe without padding"),
        ("numpy_htk", "stft", {"htk": True}, "the recipe with HTK's mel scale"),
        ("numpy_power", "stft", {"power": 2}, "the recipe with power for magnitude"),
        ("numpy_hifigan", "hifigan", {}, "HiFi-GAN's recipe"),
        ("numpy_nemo", "nemo", {}, "NeMo's recipe"),
        ("numpy_espnet", "espnet", {}, "ESPnet's recipe, with a natural logarithm"),
    ):
        yield Method(token, "stft", plain, function, options, module=numpy, how=how)
    apart = ("librosa", "torchvision's PyTorch", "TensorFlow for sound")
    librosa, torch, tensorflow = (LIBRARIES[name] for name in apart)
    yield Method("librosa_stft", "stft", librosa, "stft", how="melspectrogram by the recipe")
    how = "melspectrogram's defaults: zeros before and after, power"
    yield Method("librosa_default", "stft", librosa, "stft_default", how=how)
    yield Method("torch_stft", "stft", torch, "stft", how="torch.stft by the recipe")
    how = "its documentation's: no padding, HTK's mel scale, filters that peak at 1"
    yield Method("tf_stft", "stft", tensorflow, "stft", how=how)
    how = "its defaults: zeros before and after, to whole hops"
    yield Method("scipy_stft", "stft", scipy, "stft", how=how)
    how = "its defaults: a Hann window half a sample off"
    yield Method("dali_stft", "stft", dali, "stft", how=how)


METHODS: Mapping[str, Method] = MappingProxyType({m.token: m for m in (*_pixels(), *_models(), *_audio())})

# A version as PyPI writes it (PEP 440), without epochs and local versions.
_VERSION = re.compile(r"\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?")


def find(token: str, known: Mapping[str, Method] | None = None) -> Method | None:
    """The method of a token, which may name a version of its library (`pil_box-6.2.1`); None if there is none.

    `known` are the methods to choose from, by default those of the registry.
    """
    methods = METHODS if known is None else known
    if token in methods:
        return methods[token]
    name, _, version = token.partition(AT)
    method = methods.get(name)
    if method is None:
        return None
    if not (_VERSION.fullmatch(version) and method.library.has_versions):
        return None
    library = method.library
    same = {field.name: getattr(library, field.name) for field in fields(Library)}
    release = Release(**{**same, "name": f"{library.name} {version}"}, version=version)
    return replace(method, token=token, library=release)


def order(token: str) -> tuple[int, tuple[int, ...]]:
    """A sort key for tokens: the method's place in the registry, then its version; no version comes first.

    Unknown tokens come last.
    """
    name, _, version = token.partition(AT)
    if find(token) is None:
        return len(METHODS), ()
    return list(METHODS).index(name), tuple(map(int, re.findall(r"\d+", version)))


def plain(token: str) -> str:
    """A token without its version."""
    return token.partition(AT)[0] if find(token) else token
