"""Recordings of speech in the layouts that people have them in.

LJSpeech as it unpacks (`metadata.csv` and `wavs/`); a folder of recordings and of any folders below it, as LibriSpeech,
LibriTTS and VCTK have them, with their texts beside; one recording; and tars, as of WebDataset. The layout is found by
looking. Refuses Parquet and compressed archives, with what to do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from pipelines.errors import UsageError
from pipelines.generate.sources.base import (
    BROKEN,
    Listing,
    Missing,
    Names,
    Sample,
    Source,
    is_litter,
    is_recording,
)
from pipelines.generate.sources.kinds import holds_recordings
from pipelines.generate.sources.nearest import is_compressed, unpacking
from pipelines.generate.sources.reading import in_order, read_files
from pipelines.generate.sources.recordings import Recordings, longer_keys
from pipelines.generate.sources.speech_tars import SpeechTars
from pipelines.generate.sources.splits import find_archives
from pipelines.generate.sources.transcripts import (
    LARGEST_TEXTS,
    METADATA,
    File,
    folder_of_texts,
    is_part,
    read_metadata,
)
from pipelines.store import Contents, Place

# Folders below one another; more are a link to one above it.
_DEEPEST = 12


def open_speech(root: Place) -> Source:
    """The source at `root`, in whichever layout it is. Raises UsageError where there is none."""
    if root.is_file():
        return _open_file(root)
    root = _nearest_metadata(root)
    if METADATA in root.files():
        return SpeechFolder(root, "speech-ljspeech")
    if not holds_recordings(root):
        files, suffix, notes = find_archives(root)
        if suffix == ".tar":
            return SpeechTars(files, notes)
        if suffix:
            raise UsageError(_no_parquet(files[0]))
    return SpeechFolder(root)


def _open_file(file: Place) -> Source:
    if file.name == METADATA:
        return SpeechFolder(file.parent, "speech-ljspeech")
    if is_recording(file.name):
        return SpeechFolder(file.parent, only=file.name)
    if file.suffix == ".tar":
        return SpeechTars((file,))
    if is_compressed(file.name):
        raise UsageError(unpacking(file))
    if file.suffix in (".parquet", ".arrow"):
        raise UsageError(_no_parquet(file))
    raise UsageError(f"--source {file} is neither a folder, a recording, {METADATA} nor a .tar file")


def _no_parquet(file: Place) -> str:
    return f"{file}: recordings in Parquet or Arrow files are not read: write them as files, or as WebDataset tars"


def _nearest_metadata(root: Place) -> Place:
    """The folder that holds metadata.csv, for one that it is alone in and for the `wavs` inside it; else `root`."""
    if root.name == "wavs" and METADATA in root.parent.files():
        return root.parent
    inside = root.contents()
    folders = [name for name in inside.folders if not _is_hidden(name)]
    if len(folders) == 1 and not any(map(is_recording, inside.files)) and METADATA not in inside.files:
        below = root / folders[0]
        return below if METADATA in below.files() else root
    return root


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or is_litter(name)


class _Folder(NamedTuple):
    """What lies in a folder: recordings, the files beside them by name, and the paths of what is neither."""

    path: str
    recordings: list[File]
    beside: dict[str, File]
    others: list[str]
    folders: list[str]


@dataclass(frozen=True)
class SpeechFolder:
    """Recordings in a folder and below it, or `only` one of them. A link that leads nowhere is a sample that fails.

    Of the kind `speech-ljspeech`, metadata.csv has their texts: what it lists and is not there is a sample that fails.
    """

    root: Place
    kind: str = "speech-folder"
    only: str = ""

    def listing(self) -> Listing:
        notes: list[str] = []
        told = None
        if self.kind == "speech-ljspeech":
            place = self.root / METADATA
            told = read_metadata(_read(place), str(place))
        return Listing(self._samples(Recordings(told), notes), notes, longer_keys=longer_keys)

    def _samples(self, recordings: Recordings, notes: list[str]) -> Iterator[Sample]:
        others = Names()
        for folder in self._folders():
            for name in folder.others:
                others.add(name)
            wanted = [file for file in folder.recordings if self.only in ("", file.path)]
            yield from recordings.samples(wanted, folder.beside, self._texts)
        if not recordings:
            raise UsageError(
                f"no recordings in {self.root}: expected .wav or .flac files, in folders or not, or .tar files"
            )
        yield from recordings.absent()
        notes += recordings.notes(str(self.root))
        if others and not self.only:
            notes.append(f"not read in {self.root}: {others}")

    def _folders(self) -> Iterator[_Folder]:
        """The root, and all folders below it, those that lie as deep after one another."""
        level = [""]
        for _ in range(_DEEPEST):
            known = frozenset(level)
            below: list[str] = []
            for folder in in_order(self.root, level, partial(self._look_into, level=known)):
                yield folder
                below += folder.folders
            level = [] if self.only else below
            if not level:
                return
        raise UsageError(f"{self.root / level[0]} lies {_DEEPEST} folders deep: is it a link to one above it?")

    def _look_into(self, path: str, level: Collection[str]) -> _Folder:
        """What lies in a folder of this level; beside its recordings, too, their speaker's texts as VCTK has them."""
        inside = self._contents(path)
        texts = folder_of_texts(path)
        spoken = self._contents(texts).files if texts in level and texts != path else {}
        recordings = [_file(path, name, size) for name, size in inside.files.items() if is_recording(name)]
        recordings += [File(_joined(path, name), 0, BROKEN) for name in inside.broken if is_recording(name)]
        return _Folder(
            path,
            recordings,
            {
                **{name: _file(texts, name, size) for name, size in spoken.items()},
                **{name: _file(path, name, size) for name, size in inside.files.items()},
            },
            [_joined(path, name) for name in inside.files if not (is_recording(name) or is_part(name))],
            [_joined(path, name) for name in inside.folders if not _is_hidden(name)],
        )

    def _contents(self, path: str) -> Contents:
        return (self.root / path if path else self.root).contents()

    def _texts(self, files: Sequence[File]) -> Iterator[bytes]:
        return in_order(self.root, files, lambda file: _read(self.root / file.path), lambda file: file.size)

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        return read_files(self.root, samples)


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _file(folder: str, name: str, size: int) -> File:
    path = _joined(folder, name)
    return File(path, size, (path,))


def _read(place: Place) -> bytes:
    """A file of texts. Raises UsageError where it cannot be read, or has more bytes than any such file."""
    try:
        return place.read(LARGEST_TEXTS)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the text in {place}: {error}") from None
