"""How far a dump is from every variant, image by image. One image of each variant is in memory at a time.

Variants with the same pixels on all compared images form a group, which is read once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from tqdm import tqdm

from pipelines.errors import RunError
from pipelines.evaluate.match.dump import Undo
from pipelines.shards import Shards

Pixels = NDArray[np.uint8]
Sizes = dict[str, tuple[int, int]]
# The difference of an image whose size is not the variant's: the largest possible.
OTHER_SIZE = 255
# Values in each partial product of the Gram matrix, since float32 has only seven digits.
_CHUNK = 2**16


@dataclass(frozen=True)
class Group:
    """Variants with the same pixels on the compared images, in the shards' order, and their sizes by key."""

    names: tuple[str, ...]
    sizes: Sizes


def groups_of(shards: Shards, keys: Sequence[str]) -> list[Group]:
    """All variants, grouped by equal pixel hashes on these keys; the reference's group is first."""
    found: dict[tuple[str, ...], tuple[list[str], Sizes]] = {}
    for name, variant in shards.variants.items():
        table = variant.table("key", "pixel_sha256", "width", "height")
        table = table.filter(pc.is_in(table["key"], pa.array(keys, pa.string())))
        hashes = tuple(table["pixel_sha256"].to_pylist())
        widths, heights = table["width"].to_pylist(), table["height"].to_pylist()
        sizes = dict(zip(table["key"].to_pylist(), zip(widths, heights, strict=True), strict=True))
        found.setdefault(hashes, ([], sizes))[0].append(name)
    return [Group(tuple(names), sizes) for names, sizes in found.values()]


@dataclass(frozen=True)
class Measured:
    """Differences of the dump from each group, 0 to 255: arrays of shape (images, groups).

    `gram` has, for each image, the dot products of the residuals (pixels minus the reference's) of all groups and, in
    the last row and column, of the dump: (images, groups + 1, groups + 1). `swapped` and `straight` are the mean
    absolute differences from the reference with and without the dump's red and blue swapped.
    """

    groups: tuple[Group, ...]
    keys: tuple[str, ...]
    mean: NDArray[np.float64]
    peak: NDArray[np.int64]
    gram: NDArray[np.float64]
    straight: float
    swapped: float

    @property
    def same(self) -> NDArray[np.bool_]:
        """Whether every pixel of an image is the group's: (images, groups)."""
        same: NDArray[np.bool_] = self.peak == 0
        return same


def measure(shards: Shards, groups: Sequence[Group], files: Mapping[str, Path], undo: Undo) -> Measured:
    """Compare every image of `files`, in the order of the shards' keys, with every group."""
    keys = list(files)
    mean = np.empty((len(keys), len(groups)))
    peak = np.empty((len(keys), len(groups)), np.int64)
    gram = np.zeros((len(keys), len(groups) + 1, len(groups) + 1))
    turned = np.empty((len(keys), 2))
    for index, (key, images) in enumerate(_side_by_side(shards, groups, keys)):
        dump = undo.pixels(files[key])
        for column, image in enumerate(images):
            mean[index, column], peak[index, column] = _distance(dump, image)
        turned[index] = mean[index, 0], _distance(dump[..., ::-1], images[0])[0]
        if all(image.shape == dump.shape for image in images):
            gram[index] = _gram([*images, dump], images[0])
    return Measured(tuple(groups), tuple(keys), mean, peak, gram, *map(float, turned.mean(axis=0)))


def _side_by_side(shards: Shards, groups: Sequence[Group], keys: Sequence[str]) -> Iterator[tuple[str, list[Pixels]]]:
    wanted = set(keys)
    streams = [shards.stored(group.names[0], wanted) for group in groups]
    for key in tqdm(keys, desc="comparing", disable=not sys.stderr.isatty()):
        images = []
        for group, stream in zip(groups, streams, strict=True):
            stored = next(stream, None)
            if stored is None or stored.key != key:
                raise RunError(f"{shards.variants[group.names[0]].folder} lacks the image of {key}: run verify.py")
            images.append(shards.pixels(stored))
        yield key, images


def _distance(one: Pixels, other: Pixels) -> tuple[float, int]:
    if one.shape != other.shape:
        return OTHER_SIZE, OTHER_SIZE
    difference = np.abs(one.astype(np.int16) - other)
    return float(difference.mean()), int(difference.max())


def _gram(images: Sequence[Pixels], base: Pixels) -> NDArray[np.float64]:
    flat, origin = [image.reshape(-1) for image in images], base.reshape(-1)
    total = np.zeros((len(images), len(images)))
    for start in range(0, base.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        residuals = np.stack([image[part] for image in flat]).astype(np.float32) - origin[part]
        total += residuals @ residuals.T
    return total
