"""A device's dump of its model's input: PNG or npy files named by key, turned back into pixels.

Owns undoing a tensor's batch, layout, normalisation and channel order. Refuses other shapes and dtypes, values outside
0 to 255 once the normalisation is undone, and two files for one key. Never loads a pickle.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.text import first_line, number_of

SUFFIXES = (".png", ".npy")
Triple = tuple[float, float, float]
# How far rounding, of float16 or in a resize, may leave values outside 0 to 255; beyond, the normalisation is wrong.
_SLACK = 1.0
_GIVE = "give the --mean, --std and --scale that the device used: tensor = (pixel * scale - mean) / std"


class Files(NamedTuple):
    """The dump's files by key, and the names of all other files."""

    by_key: dict[str, Path]
    others: list[str]


def find_files(folder: Path, known: Collection[str]) -> Files:
    """The files in `folder` whose name up to the first dot is one of the `known` keys.

    Raises UsageError if there are none, or two for one key.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: give the one with the device's PNG or npy files")
    files = sorted(path for path in folder.iterdir() if path.is_file())
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not images:
        found = f"it has {files[0].name}" if files else "it is empty"
        raise UsageError(f"no .png or .npy file in {folder} ({found}): dump lossless images or tensors, named by key")
    by_key: dict[str, Path] = {}
    for path in images:
        # Keys have no dot: x.png, x.JPEG.png and x.jpg.npy are all for x.
        key = path.name.partition(".")[0]
        if key in known and key in by_key:
            raise UsageError(f"{by_key[key].name} and {path.name} in {folder} are both for {key}: keep one of them")
        if key in known:
            by_key[key] = path
    if not by_key:
        raise UsageError(
            f"no file in {folder} is named by a key of the shards: it has {images[0].name}, but keys are like "
            f"{min(known, default='none at all')} (the source file's name without its suffix)"
        )
    taken = set(by_key.values())
    return Files(by_key, [path.name for path in files if path not in taken])


@dataclass(frozen=True)
class Undo:
    """The device's preprocessing to undo: `tensor = (pixel * scale - mean) / std`, per channel in the dump's order."""

    channels: Literal["rgb", "bgr"] = "rgb"
    mean: Triple | None = None
    std: Triple | None = None
    scale: float | None = None
    layout: Literal["hwc", "chw"] | None = None

    def check(self) -> None:
        """Raises UsageError if it cannot be undone."""
        numbers = [*(self.mean or ()), *(self.std or ()), self.scale or 0.0]
        if not all(map(math.isfinite, numbers)) or 0 in (self.std or ()) or self.scale == 0:
            raise UsageError("--mean, --std and --scale must be finite, and --std and --scale not 0")

    def values(self, path: Path) -> NDArray[np.float32]:
        """A file's RGB values from 0 to 255, not rounded: float32 (height, width, 3). Raises UsageError."""
        array = _array(path)
        normalised = (self.mean, self.std, self.scale) != (None, None, None)
        if normalised and array.dtype == np.uint8:
            raise UsageError(f"{path} is uint8, so it has pixels already: leave out --mean, --std and --scale")
        pixels = self._hwc(array, path).astype(np.float32)
        if not np.isfinite(pixels).all():
            bad = number_of(int(np.count_nonzero(~np.isfinite(pixels))), "value")
            raise UsageError(f"{path} has NaN or infinity in {bad}: fix what dumps it")
        if normalised:
            mean, std = np.array(self.mean or (0, 0, 0), np.float32), np.array(self.std or (1, 1, 1), np.float32)
            pixels = (pixels * std + mean) / np.float32(self.scale or 1)
        low, high = float(pixels.min()), float(pixels.max())
        if low < -_SLACK or high > 255 + _SLACK:
            undone = " once --mean, --std and --scale are undone" if normalised else ""
            raise UsageError(f"{path} has values from {low:.4g} to {high:.4g}{undone}, not 0 to 255: {_GIVE}")
        return pixels if self.channels == "rgb" else pixels[..., ::-1]

    def pixels(self, path: Path) -> NDArray[np.uint8]:
        """A file's values, rounded: RGB uint8 (height, width, 3)."""
        return np.clip(np.rint(self.values(path)), 0, 255).astype(np.uint8)

    def _hwc(self, array: NDArray[Any], path: Path) -> NDArray[Any]:
        shape = "×".join(map(str, array.shape)) or "a single number"
        if array.ndim == 4 and array.shape[0] != 1:
            raise UsageError(f"{path} is a batch of {array.shape[0]} ({shape}): write a file for each image")
        if array.ndim == 4:
            array = array[0]
        last, first = array.ndim == 3 and array.shape[2] == 3, array.ndim == 3 and array.shape[0] == 3
        if last and first and self.layout is None:
            raise UsageError(f"{path} is {shape}, which is ambiguous: give --layout hwc or chw")
        if 0 in array.shape or not {"hwc": last, "chw": first, None: last or first}[self.layout]:
            wanted = {"hwc": "H×W×3", "chw": "3×H×W", None: "H×W×3 or 3×H×W"}[self.layout]
            raise UsageError(f"{path} is {shape}, not {wanted} (with or without a batch of 1): dump the RGB input")
        return array if self.layout == "hwc" or (last and self.layout is None) else array.transpose(1, 2, 0)


def _array(path: Path) -> NDArray[Any]:
    try:
        return _png(path) if path.suffix.lower() == ".png" else read_npy(path)
    except UsageError:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise UsageError(f"{path} cannot be read ({first_line(error)}): dump it again") from None


def _png(path: Path) -> NDArray[Any]:
    with PIL.Image.open(path, formats=("PNG",)) as image:
        if image.mode != "RGB":
            raise UsageError(f"{path} is a PNG of mode {image.mode}: save it as 8-bit RGB, without alpha or palette")
        return np.asarray(image)


def read_npy(path: Path) -> NDArray[Any]:
    """The numbers in an npy file. Raises UsageError if it is not one, and NumPy's errors if it is damaged."""
    with path.open("rb") as file:
        start = file.read(6)
    if start != b"\x93NUMPY":
        pickled = start[:1] == b"\x80"
        raise UsageError(
            f"{path} is {'a pickle, which is never loaded' if pickled else 'not an npy file'}: write it with "
            "np.save(path, array)"
        )
    # Mapped, so that a header with a wrong shape allocates nothing; NumPy maps no Python objects.
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype.kind not in "uif":
        raise UsageError(f"{path} has dtype {array.dtype}, not real numbers: save it as uint8, float16 or float32")
    return np.array(array)


class Look(NamedTuple):
    """The result of a first look at a dump: sizes (width, height) by key, and how far values are from integers."""

    sizes: dict[str, tuple[int, int]]
    off_integers: float


def look(paths: Iterable[tuple[str, Path]], undo: Undo) -> Look:
    """Read every file once. Raises UsageError if one is not an image, or all values are too small for pixels."""
    sizes: dict[str, tuple[int, int]] = {}
    highest, off = 0.0, list[float]()
    for key, path in paths:
        values = undo.values(path)
        sizes[key] = values.shape[1], values.shape[0]
        highest = max(highest, float(values.max()))
        off.append(float(np.abs(values - np.rint(values)).mean()))
    if highest <= 1 + _SLACK / 255 and any(off):
        raise UsageError(f"no value in the dump is above {highest:.3g}: not 0 to 255; {_GIVE} (1/255 is 0.00392157)")
    return Look(sizes, float(np.mean(off)))


def spread(keys: Sequence[str], limit: int) -> list[str]:
    """At most `limit` of the keys, evenly spread."""
    if len(keys) <= limit:
        return list(keys)
    return [keys[index] for index in np.linspace(0, len(keys) - 1, limit).round().astype(int)]
