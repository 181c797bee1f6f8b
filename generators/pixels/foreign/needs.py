"""What a release needs besides its declared dependencies: its metadata could not know what came after it.

A row for each distribution that is available in other versions, and how to build one that has no wheel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Parts = tuple[int, ...]


@dataclass(frozen=True)
class Build:
    """What a source distribution needs to be built, besides a compiler: headers and programs, each by Debian package.

    `constraints` apply to the packages of the build; `settings` gives the build's settings (PEP 517) by version, and
    `oldest` the first Python that it can be built for.
    """

    headers: Mapping[str, str] = field(hash=False)
    programs: Mapping[str, str] = field(default_factory=dict, hash=False)
    constraints: tuple[str, ...] = ()
    settings: Callable[[Parts], tuple[str, ...]] = lambda _version: ()
    oldest: Callable[[Parts], Parts] = lambda _version: ()


@dataclass(frozen=True)
class Needs:
    """A distribution's module, the requirements to install with a version of it, and its build; None if only wheels are
    used.

    `affecting` are the distributions among them that affect pixels: a set lists their versions, and the digest of what
    was installed covers them and the release. None means all. `sources` are those in pure Python that have no wheels,
    with what each is built with.
    """

    module: str
    extras: Callable[[Parts], tuple[str, ...]]
    build: Build | None = None
    affecting: tuple[str, ...] | None = None
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)


def parts(version: str) -> Parts:
    """The numbers that a version begins with."""
    numbers = []
    for part in version.split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)


# The first releases built for NumPy 2, or compatible with it; torchvision's is torch 2.3's.
_OPENCV_NUMPY_2, _DALI_NUMPY_2 = (4, 10), (1, 40)
_TORCHVISION_NUMPY_2, _SKIMAGE_NUMPY_2 = (0, 18), (0, 23)

# Compatible with the libraries of all releases of pyvips-binary, the first of which is 8.15.3.
_PYVIPS = "pyvips==3.2.0"

# Tested with the setup.py of these releases, which are years older; later versions may drop what they use.
_SETUPTOOLS = "setuptools<69"
# Pillow's features that would be built only if Debian's headers happened to be there: disabled, so builds are the same.
_PILLOW_FEATURES = ("tiff", "freetype", "lcms", "webp", "webpmux", "jpeg2000", "imagequant")
# Pillow 7.1 is the first that can take screenshots with XCB.
_PILLOW_XCB = (7, 1)
# pillow-simd: the first release built by Pillow's own backend, which takes settings instead of options; the Python that
# its metadata requires; and its features.
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
# Built for SSE4, its makers' default, and so for every x86-64 CPU since 2008; not for AVX2.
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

# The first release that declares which protobuf and NumPy are too new for it.
_TENSORFLOW_BOUNDED = (2, 12)


def _tensorflow(version: Parts) -> tuple[str, ...]:
    return () if version >= _TENSORFLOW_BOUNDED else ("numpy<1.24", "protobuf<3.21")


# The first releases that work with NumPy 1.24, and without pkg_resources, which setuptools 82 removed.
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
        "tensorflow-cpu": Needs("tensorflow", _tensorflow, affecting=("numpy",)),
        "torchvision": Needs(
            "torchvision", lambda version: _numpy(version, _TORCHVISION_NUMPY_2), affecting=("torch",)
        ),
        "pyvips-binary": Needs(
            "pyvips",
            lambda version: (_PYVIPS,),
            affecting=("pyvips",),
            sources={"pyvips": ("setuptools", "cffi", "pkgconfig")},
        ),
        "pillow-simd": Needs("PIL.Image", lambda version: (), _SIMD),
        "librosa": Needs("librosa", _librosa, affecting=("numpy", "scipy")),
        "scikit-image": Needs(
            "skimage.transform", lambda version: _numpy(version, _SKIMAGE_NUMPY_2), affecting=("numpy", "scipy")
        ),
    }
)


def _numpy(version: Parts, second: Parts) -> tuple[str, ...]:
    return ("numpy",) if version >= second else ("numpy<2",)
