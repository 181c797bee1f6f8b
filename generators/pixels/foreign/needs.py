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
    """Requirements to install beside a release, by its version; and its build, None where only wheels are used."""

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


# opencv-python 4.10.0.84 is the first that was built for NumPy 2.
_OPENCV_NUMPY_2 = (4, 10)


NEEDS: Mapping[str, Needs] = MappingProxyType(
    {
        "pillow": Needs(lambda version: ()),
        "opencv-python-headless": Needs(lambda version: () if version >= _OPENCV_NUMPY_2 else ("numpy<2",)),
        "av": Needs(lambda version: ("numpy<2",)),
        "nvidia-dali-cuda120": Needs(lambda version: ("numpy<2",)),
    }
)
