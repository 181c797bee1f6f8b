"""The interface of sources: a list of samples, and a way to read some of them."""

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
# If only one of several files can be a sample's image, it is one with these suffixes.
COMMON_SUFFIXES = (".jpeg", ".jpg", ".png")
IMAGE_SUFFIXES = (*COMMON_SUFFIXES, ".jfif", ".jpe", ".bmp", ".tif", ".tiff", ".webp")
# Lossless formats first.
RECORDING_SUFFIXES = (".wav", ".flac", ".aif", ".aiff", ".mp3", ".ogg", ".opus", ".m4a")
# Bytes. No photograph, and no hour of speech, is larger: a file that claims to be is damaged or a bomb.
LARGEST_IMAGE = 2**28


class Missing(NamedTuple):
    """Stands in for a sample's bytes that cannot be read: the reason."""

    reason: str


# A sample that is named by the labels but missing from the source has an empty place.
ABSENT = Missing("source: named by the labels, but there is no such file")
# The place of a broken link: no path.
BROKEN = ("",)
BROKEN_LINK = Missing("source: a link that leads nowhere")


class Sample(NamedTuple):
    """One source image: its key, label (-1 if unknown), path within the source, size and place.

    `place` says where in the source the bytes are; its format is the source's own. It has plain values only, so that a
    plan can be sent to workers. `size` is in bytes: the image's, or the containing file's if the image's is not known
    without reading. `extra` is copied into the sample's `json` member.
    """

    key: str
    label: int
    path: str
    size: int
    place: tuple[Any, ...]
    extra: tuple[tuple[str, Any], ...] = ()


class Listing(NamedTuple):
    """A source's samples in the order in which they are found, and notes for the user, one line each.

    `notes` are complete once all samples have been consumed, and empty if all is well. `facts` describe the source in
    the manifest, besides its layout and samples. `longer_keys` gives, for a sample's path, longer and longer keys for
    use when its key is also another's; without it, such samples are refused. `sizes` are the widths and heights in
    pixels that the source's annotations refer to, by key.
    """

    samples: Iterable[Sample]
    notes: list[str]
    facts: Mapping[str, str] = MappingProxyType({})
    longer_keys: Callable[[str], Sequence[str]] | None = None
    sizes: Mapping[str, tuple[int, int]] = MappingProxyType({})


class Source(Protocol):
    """A set of images. Implementations are small, frozen and picklable: they hold locations, never images."""

    @property
    def kind(self) -> str:
        """The layout, as named in the manifest: `imagenet-tree`, `imagenet-tar`."""

    def listing(self) -> Listing:
        """Every sample, in any order. Raises UsageError, possibly during iteration, if something is wrong."""

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        """The bytes of the given samples, in order, with only a few in memory at a time."""


@runtime_checkable
class Segmented(Protocol):
    """A source whose images have label maps."""

    def label_map(self, sample: Sample) -> NDArray[np.uint8] | Missing:
        """The class of every source pixel: uint8 of shape (height, width), 255 for none."""


@runtime_checkable
class Grouped(Protocol):
    """A source that has to read some images to reach others."""

    def group(self, sample: Sample) -> Hashable:
        """The same value for samples that should be read together."""


def oversized(size: int) -> Missing | None:
    """The reason not to read a file of this many bytes; None if it may be read."""
    if size <= LARGEST_IMAGE:
        return None
    return Missing(f"source: refused unread: {size:,} bytes, and no more than {LARGEST_IMAGE:,} are read")


def some(found: Iterable[T], otherwise: str) -> Iterator[T]:
    """Pass items on one at a time. Raises UsageError with the message `otherwise` if there are none."""
    nothing = True
    for each in found:
        nothing = False
        yield each
    if nothing:
        raise UsageError(otherwise)


class Names:
    """Counts names for a message, remembering only the first in sorted order."""

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
    """Names for a message: the first few, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def is_image(name: str, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> bool:
    """Whether a file, by its name or path, is an image."""
    return name.lower().endswith(suffixes) and not is_litter(name)


def is_recording(name: str) -> bool:
    """Whether a file, by its name or path, is an audio recording."""
    return is_image(name, RECORDING_SUFFIXES)


def key_of(path: str, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> str:
    """The sample's key: the file's stem, with dots replaced, since a WebDataset key ends at the first dot."""
    # Does what PurePosixPath would, ten times faster: this runs once per image.
    name = path.rpartition("/")[2]
    if name in ("", "."):
        name = PurePosixPath(path).name
    dot = name.rfind(".")
    return (name[:dot] if dot > 0 and name[dot:].lower() in suffixes else name).replace(".", "_")
