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
    """What a source distribution is built with: Debian packages by a file that each brings, and settings."""

    packages: Mapping[str, str]
    constraints: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Needs:
    """A release's module, and requirements to install beside it, by its version; its build, None where only wheels
    are used.
    """

    module: str
    beside: Callable[[Parts], tuple[str, ...]]
    build: Build | None = None


def parts(version: str) -> Parts:
    """The numbers that a version begins with."""
    numbers = []
    for part in version.split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)


# The first releases that were built for NumPy 2, or work with it.
_OPENCV_NUMPY_2, _DALI_NUMPY_2 = (4, 10), (1, 40)


NEEDS: Mapping[str, Needs] = MappingProxyType(
    {
        "pillow": Needs("PIL.Image", lambda version: ()),
        "opencv-python-headless": Needs("cv2", lambda version: _numpy(version, _OPENCV_NUMPY_2)),
        "av": Needs("av", lambda version: ("numpy",)),
        "nvidia-dali-cuda120": Needs("nvidia.dali", lambda version: _numpy(version, _DALI_NUMPY_2)),
    }
)


def _numpy(version: Parts, second: Parts) -> tuple[str, ...]:
    return ("numpy",) if version >= second else ("numpy<2",)
