"""Mel spectrograms that somebody else has made: the arrays of an `.npz` by key, or a folder of `<key>.npy`.

Owns telling bands from frames, by how many bands the set has. Refuses what is no spectrogram: other numbers of bands,
arrays of which it cannot be told how they lie, and values that are no finite numbers. A pickle is never loaded.
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
from pipelines.text import first_line

ZIP, ARRAY = ".npz", ".npy"
# What reading an array, or an archive of them, may raise: RuntimeError is of encrypted ones.
DAMAGED = (OSError, ValueError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)
Mel = NDArray[np.float64]


class Arrays:
    """Arrays of a folder or an `.npz` by key, each read when it is asked for."""

    def __init__(self, place: Path, keys: Iterable[str], read: Callable[[str], bytes]) -> None:
        self.place, self.keys, self._read = place, list(keys), read

    def called(self, key: str) -> str:
        """Where an array lies, for people."""
        return f"{self.place} ({key})" if self.place.is_file() else f"{self.place / f'{key}{ARRAY}'}"

    def load(self, key: str) -> Mel:
        """An array of finite numbers, without a batch of 1 in front. Raises UsageError where it is none."""
        try:
            found: NDArray[Any] = np.load(io.BytesIO(self._read(key)), allow_pickle=False)
        except DAMAGED as error:
            raise UsageError(f"{self.called(key)} cannot be read ({first_line(error)}): save it by numpy") from None
        if found.dtype.kind not in "fiu":
            raise UsageError(f"{self.called(key)} holds {found.dtype}, not numbers: save it as float32")
        if bad := int(np.count_nonzero(~np.isfinite(found))):
            raise UsageError(f"{self.called(key)} holds {bad:,} values that are NaN or infinite: repair what makes it")
        return (found[0] if found.ndim == 3 and len(found) == 1 else found).astype(np.float64)


@contextlib.contextmanager
def open_arrays(place: Path) -> Iterator[Arrays]:
    """The arrays of an `.npz` or of a folder. Raises UsageError where it holds none."""
    if place.is_dir():
        files: dict[str, Path] = {}
        for path in sorted(place.iterdir()):
            key = path.name.partition(".")[0]  # which never has a dot: x.npy and x.wav.npy are of x
            if path.suffix.lower() == ARRAY and files.setdefault(key, path) is not path:
                raise UsageError(f"{files[key].name} and {path.name} in {place} are both of {key}: keep one of them")
        if not files:
            raise UsageError(f"no {ARRAY} file in {place}: one for each recording is wanted, named by its key")
        yield Arrays(place, files, lambda key: files[key].read_bytes())
        return
    try:
        archive = zipfile.ZipFile(place)
    except (OSError, zipfile.BadZipFile) as error:
        raise UsageError(f"{place} is no {ZIP} ({first_line(error)}): save it by numpy.savez") from None
    with archive:
        members = [name for name in archive.namelist() if name.endswith(ARRAY)]
        names = {name.removesuffix(ARRAY): name for name in members}
        if len(names) < len(members):
            twice = next(name for name in names.values() if members.count(name) > 1)
            raise UsageError(f"{place} has {twice} more than once: keep one of them")
        if not names:
            raise UsageError(f"{place} holds no array: save it by numpy.savez, with the keys of recordings")
        yield Arrays(place, names, lambda key: archive.read(names[key]))


class Spectrograms:
    """Arrays as spectrograms of (bands, frames); `turned` where they lie as frames × bands.

    Raises UsageError where none of these keys tells how they lie.
    """

    def __init__(self, arrays: Arrays, keys: Iterable[str], bands: int) -> None:
        self._arrays, self._bands = arrays, bands
        sides = (self._checked(key).shape for key in keys)
        told = next((shape for shape in sides if shape[0] != shape[1]), None)
        if told is None:
            raise UsageError(
                f"{arrays.place} has {bands}×{bands} arrays alone, of which it cannot be told how they lie: give a "
                "recording of another length as well"
            )
        self.turned = told[1] == bands

    def mel(self, key: str) -> Mel:
        """A recording's. Raises UsageError where it is no spectrogram, or lies another way than the others."""
        found = self._checked(key)
        if found.shape[self.turned] != self._bands:
            raise UsageError(
                f"{self.called(key)} is {_written(found.shape)}, and the others lie the other way: save all one way"
            )
        return found.T if self.turned else found

    def called(self, key: str) -> str:
        """Where it lies, for people."""
        return self._arrays.called(key)

    def _checked(self, key: str) -> Mel:
        found = self._arrays.load(key)
        if found.ndim != 2 or self._bands not in found.shape or not found.size:
            raise UsageError(
                f"{self.called(key)} is {_written(found.shape)}: a spectrogram of {self._bands} bands × frames is "
                "wanted, as the set has"
            )
        return found


def _written(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a single number"
