"""Mel spectrograms made elsewhere: the arrays of an `.npz` by key, or a folder of `<key>.npy`.

Owns telling bands from frames, by the set's number of bands. Refuses arrays with another number of bands, arrays whose
orientation is ambiguous, and values that are not finite numbers. Never loads a pickle.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.text import first_line, number_of

ZIP, ARRAY = ".npz", ".npy"
# What reading an array, or an archive of arrays, may raise: RuntimeError if it is encrypted.
DAMAGED = (OSError, ValueError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)
Mel = NDArray[np.float64]


class Arrays:
    """Arrays of a folder or an `.npz` by key, read on demand."""

    def __init__(self, place: Path, keys: Iterable[str], read: Callable[[str], bytes]) -> None:
        self.place, self.keys, self._read = place, list(keys), read

    def called(self, key: str) -> str:
        """An array's location, for messages."""
        return f"{self.place} ({key})" if self.place.is_file() else f"{self.place / f'{key}{ARRAY}'}"

    def load(self, key: str) -> Mel:
        """An array as float64, without a leading batch dimension of 1. Raises UsageError if a value is not finite."""
        try:
            found: NDArray[Any] = np.load(io.BytesIO(self._read(key)), allow_pickle=False)
        except DAMAGED as error:
            raise UsageError(f"{self.called(key)} cannot be read ({first_line(error)}): save it with numpy") from None
        if found.dtype.kind not in "fiu":
            raise UsageError(f"{self.called(key)} has dtype {found.dtype}, not real numbers: save it as float32")
        if bad := int(np.count_nonzero(~np.isfinite(found))):
            raise UsageError(f"{self.called(key)} has NaN or infinity in {number_of(bad, 'value')}: fix what makes it")
        return (found[0] if found.ndim == 3 and len(found) == 1 else found).astype(np.float64)


@contextlib.contextmanager
def open_arrays(place: Path) -> Iterator[Arrays]:
    """The arrays of an `.npz` or a folder. Raises UsageError if there are none."""
    if place.is_dir():
        files: dict[str, Path] = {}
        for path in sorted(place.iterdir()):
            key = path.name.partition(".")[0]  # keys have no dot: x.npy and x.wav.npy are both for x
            if path.suffix.lower() == ARRAY and files.setdefault(key, path) is not path:
                raise UsageError(f"{files[key].name} and {path.name} in {place} are both for {key}: keep one of them")
        if not files:
            raise UsageError(f"no {ARRAY} file in {place}: give one for each recording, named by its key")
        yield Arrays(place, files, lambda key: files[key].read_bytes())
        return
    try:
        archive = zipfile.ZipFile(place)
    except (OSError, zipfile.BadZipFile) as error:
        raise UsageError(f"{place} is not an {ZIP} file ({first_line(error)}): save it with numpy.savez") from None
    with archive:
        members = [name for name in archive.namelist() if name.endswith(ARRAY)]
        names = {name.removesuffix(ARRAY): name for name in members}
        if len(names) < len(members):
            twice = next(name for name in names.values() if members.count(name) > 1)
            raise UsageError(f"{place} has {twice} more than once: keep one of them")
        if not names:
            raise UsageError(f"{place} has no array: save it with numpy.savez, an array for each recording's key")
        yield Arrays(place, names, lambda key: archive.read(names[key]))


class Spectrograms:
    """Arrays as spectrograms (bands, frames); `turned` says that they are stored as frames × bands.

    Raises UsageError if all arrays with these keys are square, so that their orientation is ambiguous.
    """

    def __init__(self, arrays: Arrays, keys: Iterable[str], bands: int) -> None:
        self._arrays, self._bands = arrays, bands
        shapes = (self._checked(key).shape for key in keys)
        oblong = next((shape for shape in shapes if shape[0] != shape[1]), None)
        if oblong is None:
            raise UsageError(
                f"{arrays.place} has only {bands}×{bands} arrays, which can be bands × frames or frames × bands: add "
                "a recording of another length"
            )
        self.turned = oblong[1] == bands

    def mel(self, key: str) -> Mel:
        """A recording's spectrogram. Raises UsageError if it is none, or its orientation differs from the others'."""
        found = self._checked(key)
        if found.shape[self.turned] != self._bands:
            raise UsageError(
                f"{self.called(key)} is {_written(found.shape)}, and the others are transposed: save all the same way"
            )
        return found.T if self.turned else found

    def called(self, key: str) -> str:
        """An array's location, for messages."""
        return self._arrays.called(key)

    def _checked(self, key: str) -> Mel:
        found = self._arrays.load(key)
        if found.ndim != 2 or self._bands not in found.shape or not found.size:
            raise UsageError(
                f"{self.called(key)} is {_written(found.shape)}: give a spectrogram of {self._bands} bands × frames, "
                "as in the set"
            )
        return found


def _written(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a single number"
