"""What every source is: a list of samples, and a way to read some of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from manifests.litter import is_litter as is_litter
from pipelines.errors import UsageError

T = TypeVar("T")

UNKNOWN_LABEL = -1
# Where only one of several files can be a sample's image, one with the first of these suffixes is.
COMMON_SUFFIXES = (".jpeg", ".jpg", ".png")
IMAGE_SUFFIXES = (*COMMON_SUFFIXES, ".jfif", ".jpe", ".bmp", ".tif", ".tiff", ".webp")
# What holds sound: lossless files first.
RECORDING_SUFFIXES = (".wav", ".flac", ".aif", ".aiff", ".mp3", ".ogg", ".opus", ".m4a")
# Bytes. No photograph is larger: what says so is damaged, or a bomb.
LARGEST_IMAGE = 2**28


class Missing(NamedTuple):
    """In place of a sample's bytes: why they cannot be read."""

    reason: str


# A sample that the labels name but the source does not have has no place.
ABSENT = Missing("source: named by the labels, but there is no such file")
# A link that leads nowhere has a place of its own: no path.
BROKEN = ("",)
BROKEN_LINK = Missing("source: a link that leads nowhere")


class Sample(NamedTuple):
    """One source image: its key, label (-1 when unknown), path within the source, size and place.

    `place` is the source's own: where in it the bytes lie. It holds plain values only, so that a plan can be sent to
    workers. `size` is in bytes: the image's, or that of the file it is in where its own is not known without reading.
    `extra` goes into the sample's `json` member as it is.
    """

    key: str
    label: int
    path: str
    size: int
    place: tuple[Any, ...]
    extra: tuple[tuple[str, Any], ...] = ()


class Listing(NamedTuple):
    """A source's samples as they are found, and what the user should know about them: a line each.

    `notes` are there once the samples have been taken to their end, and none when all is well. `facts` describe the
    source in the manifest, besides its layout and samples. `longer_keys` gives, by a sample's path, the keys that it
    may have where its own is another's too, from short to long; without it such samples are refused. `sizes` are the
    width and height in pixels that the source states of images, by key: its annotations are of images of that size.
    """

    samples: Iterable[Sample]
    notes: list[str]
    facts: Mapping[str, str] = MappingProxyType({})
    longer_keys: Callable[[str], Sequence[str]] | None = None
    sizes: Mapping[str, tuple[int, int]] = MappingProxyType({})


class Source(Protocol):
    """A set of images. Implementations are small, frozen and can be pickled: they hold places, never images."""

    @property
    def kind(self) -> str:
        """The layout, for the manifest: `imagenet-tree`, `imagenet-tar`."""

    def listing(self) -> Listing:
        """Every sample, in any order. Raises UsageError, also while they are taken, where the source is at fault."""

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        """The bytes of the given samples, in their order, holding few of them at a time."""


@runtime_checkable
class Segmented(Protocol):
    """A source whose images have label maps."""

    def label_map(self, sample: Sample) -> NDArray[np.uint8] | Missing:
        """Class of every source pixel: uint8 of shape (height, width), 255 where there is none."""


@runtime_checkable
class Grouped(Protocol):
    """A source that reads some images to get at others."""

    def group(self, sample: Sample) -> Hashable:
        """The same for samples that are read together."""


def oversized(size: int) -> Missing | None:
    """What is said of an image of so many bytes in place of reading it; None where it may be read."""
    if size <= LARGEST_IMAGE:
        return None
    return Missing(f"source: refused unread: {size:,} bytes, and no photograph has more than {LARGEST_IMAGE:,}")


def some(found: Iterable[T], otherwise: str) -> Iterator[T]:
    """What is found, one at a time. Raises UsageError, which says `otherwise`, where there is nothing."""
    nothing = True
    for each in found:
        nothing = False
        yield each
    if nothing:
        raise UsageError(otherwise)


class Names:
    """Counts names for a message, and keeps the first of them in order alone."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.count = 0
        self.first = ""
        for name in names:
            self.add(name)

    def add(self, name: str) -> None:
        self.first = min(self.first, name) if self.count else name
        self.count += 1

    def __bool__(self) -> bool:
        return self.count > 0

    def __str__(self) -> str:
        return self.first if self.count == 1 else f"{self.count:,} names ({self.first}, …)"


def listed(names: Sequence[str], most: int = 10) -> str:
    """Names for a message: the first of them, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def is_image(name: str, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> bool:
    """Whether a file, by its name or path, holds an image."""
    return name.lower().endswith(suffixes) and not is_litter(name)


def is_recording(name: str) -> bool:
    """Whether a file, by its name or path, holds sound."""
    return is_image(name, RECORDING_SUFFIXES)


def key_of(path: str, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> str:
    """The sample's key: the file's stem, its dots replaced, since a WebDataset key ends at the first dot."""
    # As PurePosixPath has them, in a tenth of its time: there are as many names as images.
    name = path.rpartition("/")[2]
    if name in ("", "."):
        name = PurePosixPath(path).name
    dot = name.rfind(".")
    return (name[:dot] if dot > 0 and name[dot:].lower() in suffixes else name).replace(".", "_")
