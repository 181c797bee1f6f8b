"""What every source is: a list of samples, and a way to read some of them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UsageError

UNKNOWN_LABEL = -1
IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png")
# USTAR holds 100 bytes of name; the longest member is `<key>.json`.
_LONGEST_KEY = 100 - len(".json")


class Missing(NamedTuple):
    """In place of a sample's bytes: why they cannot be read."""

    reason: str


# A sample that the labels name but the source does not have has no place.
ABSENT = Missing("source: named by the labels, but there is no such file")


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
    """A source's samples, and what the user should know about them: a line each, none when all is well.

    `facts` describe the source in the manifest, besides its layout and samples.
    """

    samples: list[Sample]
    notes: list[str]
    facts: Mapping[str, str] = MappingProxyType({})


class Source(Protocol):
    """A set of images. Implementations are small, frozen and can be pickled: they hold places, never images."""

    @property
    def kind(self) -> str:
        """The layout, for the manifest: `imagenet-tree`, `imagenet-tar`."""

    def listing(self) -> Listing:
        """Every sample, in any order. Raises UsageError where the source as a whole is at fault."""

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        """The bytes of the given samples, in their order, holding few of them at a time."""


@runtime_checkable
class Segmented(Protocol):
    """A source whose images have label maps."""

    def label_map(self, sample: Sample) -> NDArray[np.uint8] | Missing:
        """Class of every source pixel: uint8 of shape (height, width), 255 where there is none."""


def some(names: Sequence[str]) -> str:
    """Names for a message: the only one, or how many there are and the first."""
    return names[0] if len(names) == 1 else f"{len(names):,} names ({names[0]}, …)"


def key_of(path: str) -> str:
    """The sample's key: the file's stem, its dots replaced, since a WebDataset key ends at the first dot."""
    name = PurePosixPath(path).name
    return (name[: -len(suffix)] if (suffix := _suffix(name)) else name).replace(".", "_")


def _suffix(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    return suffix if suffix.lower() in IMAGE_SUFFIXES else ""


def ordered(samples: Iterable[Sample]) -> list[Sample]:
    """The samples sorted by key. Raises UsageError for keys that are not unique or that a tar cannot hold."""
    found = sorted(samples)
    for before, after in itertools.pairwise(found):
        if before.key == after.key:
            count = len(found) - len({sample.key for sample in found})
            raise UsageError(
                f"{count} duplicate key{'s' if count > 1 else ''}: {before.path} and {after.path} would both be "
                f"{before.key!r}; rename one of them"
            )
    for sample in found:
        if not _is_text(sample.path):
            raise UsageError(f"the name {sample.path!a} is not UTF-8: rename the file")
        if len(sample.key.encode()) > _LONGEST_KEY:
            raise UsageError(f"the name of {sample.path} is longer than {_LONGEST_KEY} bytes, which a tar cannot hold")
    return found


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def fingerprint(samples: Iterable[Sample]) -> str:
    """Digest of the samples' keys, labels, paths and sizes: changes when the set changes, without reading an image."""
    total = hashlib.sha256()
    for sample in samples:
        line = (sample.key, sample.label, sample.path, sample.size, *sample.extra)
        total.update(("\t".join(map(str, line)) + "\n").encode())
    return total.hexdigest()
