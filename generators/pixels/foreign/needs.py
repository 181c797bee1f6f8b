"""What a release needs beside itself, which its metadata does not say: it could not know what came after it.

A row for each distribution that other versions of can be had of, and how one is built where there is no wheel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Parts = tuple[int, ...]


@dataclass(frozen=True)
class Build:
    """What a source distribution is built with, beside a compiler: headers and programs, by the Debian package of each.

    `constraints` are of the packages that build it; `settings`, by its version, are what its build is told (PEP 517).
    `oldest`, likewise, is the first Python that it can be built for.
    """

    headers: Mapping[str, str] = field(hash=False)
    programs: Mapping[str, str] = field(default_factory=dict, hash=False)
    constraints: tuple[str, ...] = ()
    settings: Callable[[Parts], tuple[str, ...]] = lambda _version: ()
    oldest: Callable[[Parts], Parts] = lambda _version: ()


@dataclass(frozen=True)
class Needs:
    """A release's module, and requirements to install beside it, by its version; its build, None where only wheels
    are used.

    `tells` are the distributions beside it that have a part in its pixels: a set names them, and the digest of what was
    installed is of them and of the release. None: all.
    `sources` are those beside it, in Python, that have no wheels, and what each is packed with.
    """

    module: str
    beside: Callable[[Parts], tuple[str, ...]]
    build: Build | None = None
    tells: tuple[str, ...] | None = None
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)


def parts(version: str) -> Parts:
    """The numbers that a version begins with."""
    numbers = []
    for part in version.split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)


# The first releases that were built for NumPy 2, or work with it; torchvision's is torch 2.3's.
_OPENCV_NUMPY_2, _DALI_NUMPY_2 = (4, 10), (1, 40)
_TORCHVISION_NUMPY_2, _SKIMAGE_NUMPY_2 = (0, 18), (0, 23)

# Works with the libraries of all releases of pyvips-binary, of which the first is 8.15.3.
_PYVIPS = "pyvips==3.2.0"

# Tried with the setup.py of these releases, which are older than it by years; a later one may drop what they use.
_SETUPTOOLS = "setuptools<69"
# Pillow's features that are built where Debian's headers are by chance: without them a build is the same everywhere.
_PILLOW_FEATURES = ("tiff", "freetype", "lcms", "webp", "webpmux", "jpeg2000", "imagequant")
# Pillow 7.1 is the first that can take screenshots by XCB.
_PILLOW_XCB = (7, 1)
# pillow-simd, from the release that a backend of Pillow's own builds, which takes settings and no options; the Python
# that its metadata asks for; and its features.
_SIMD_BACKEND, _SIMD_PYTHON = (12,), (3, 10)
_SIMD_FEATURES = ("tiff", "freetype", "lcms", "webp", "jpeg2000", "imagequant", "xcb", "avif")
_PILLOW_HEADERS = {"jpeglib.h": "libjpeg62-turbo-dev", "zlib.h": "zlib1g-dev"}


def _pillow_settings(version: Parts) -> tuple[str, ...]:
    features = (*_PILLOW_FEATURES, "xcb") if version >= _PILLOW_XCB else _PILLOW_FEATURES
    return tuple(f"--global-option={word}" for word in ("build_ext", *(f"--disable-{name}" for name in features)))


def _simd_settings(version: Parts) -> tuple[str, ...]:
    if version < _SIMD_BACKEND:
        return _pillow_settings(version)
    return tuple(f"{feature}=disable" for feature in _SIMD_FEATURES)


_PILLOW = Build(headers=_PILLOW_HEADERS, constraints=(_SETUPTOOLS,), settings=_pillow_settings)
# For SSE4, as its makers have it by default, and so for every CPU of x86-64 since 2008; not for AVX2.
_SIMD = Build(
    headers=_PILLOW_HEADERS,
    settings=_simd_settings,
    oldest=lambda version: _SIMD_PYTHON if version >= _SIMD_BACKEND else (),
)
_AV = Build(
    headers={
        f"lib{name}/{name}.h": f"lib{name}-dev"
        for name in ("avformat", "avcodec", "avdevice", "avutil", "avfilter", "swscale", "swresample")
    },
    programs={"pkg-config": "pkg-config"},
    constraints=(_SETUPTOOLS, "cython<3"),
)

# The first release that says which protobuf and NumPy are too new for it.
_TENSORFLOW_BOUNDED = (2, 12)


def _tensorflow(version: Parts) -> tuple[str, ...]:
    return () if version >= _TENSORFLOW_BOUNDED else ("numpy<1.24", "protobuf<3.21")


# The first releases that work with NumPy 1.24, and without pkg_resources, which setuptools has dropped with 82.
_LIBROSA_NUMPY, _LIBROSA_ALONE = (0, 10), (0, 10, 2)


def _librosa(version: Parts) -> tuple[str, ...]:
    numpy = () if version >= _LIBROSA_NUMPY else ("numpy<1.24",)
    return numpy if version >= _LIBROSA_ALONE else (*numpy, "setuptools<82")


NEEDS: Mapping[str, Needs] = MappingProxyType(
    {
        "pillow": Needs("PIL.Image", lambda version: (), _PILLOW),
        "opencv-python-headless": Needs("cv2", lambda version: _numpy(version, _OPENCV_NUMPY_2)),
        "av": Needs("av", lambda version: ("numpy",), _AV),
        "nvidia-dali-cuda120": Needs("nvidia.dali", lambda version: _numpy(version, _DALI_NUMPY_2)),
        "tensorflow-cpu": Needs("tensorflow", _tensorflow, tells=("numpy",)),
        "torchvision": Needs("torchvision", lambda version: _numpy(version, _TORCHVISION_NUMPY_2), tells=("torch",)),
        "pyvips-binary": Needs(
            "pyvips",
            lambda version: (_PYVIPS,),
            tells=("pyvips",),
            sources={"pyvips": ("setuptools", "cffi", "pkgconfig")},
        ),
        "pillow-simd": Needs("PIL.Image", lambda version: (), _SIMD),
        "librosa": Needs("librosa", _librosa, tells=("numpy", "scipy")),
        "scikit-image": Needs(
            "skimage.transform", lambda version: _numpy(version, _SKIMAGE_NUMPY_2), tells=("numpy", "scipy")
        ),
    }
)


def _numpy(version: Parts, second: Parts) -> tuple[str, ...]:
    return ("numpy",) if version >= second else ("numpy<2",)
