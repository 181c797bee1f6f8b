"""Recordings of speech in the layouts in common use.

LJSpeech as unpacked (`metadata.csv` and `wavs/`); a folder tree of recordings with transcripts next to them, such as
LibriSpeech, LibriTTS and VCTK; a single recording; and tars, such as WebDataset's. The layout is detected. Refuses
Parquet and compressed archives, and says what to do.
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
from pipelines.generate.sources.compressed import is_compressed, unpacking
from pipelines.generate.sources.held import holds_recordings
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

# Levels of folders; with more, one is probably a link to a folder above it.
_DEEPEST = 12


def open_speech(root: Place) -> Source:
    """The source at `root`, in whichever layout it has. Raises UsageError if there is none."""
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
    return f"{file}: Parquet and Arrow files of recordings are not supported: convert them to files or WebDataset tars"


def _nearest_metadata(root: Place) -> Place:
    """The folder with metadata.csv, if `root` contains only that folder or is its `wavs`; else `root`."""
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
    """The content of a folder: recordings, all of its files by name, and the paths of files that are neither."""

    path: str
    recordings: list[File]
    beside: dict[str, File]
    others: list[str]
    folders: list[str]


@dataclass(frozen=True)
class SpeechFolder:
    """Recordings in a folder and its subfolders, or `only` one of them. A broken link is a sample that fails.

    If the kind is `speech-ljspeech`, metadata.csv has the transcripts; its entries without a recording fail.
    """

    root: Place
    kind: str = "speech-folder"
    only: str = ""

    def listing(self) -> Listing:
        notes: list[str] = []
        metadata = None
        if self.kind == "speech-ljspeech":
            place = self.root / METADATA
            metadata = read_metadata(_read(place), str(place))
        return Listing(self._samples(Recordings(metadata), notes), notes, longer_keys=longer_keys)

    def _samples(self, recordings: Recordings, notes: list[str]) -> Iterator[Sample]:
        others = Names()
        for folder in self._folders():
            for name in folder.others:
                others.add(name)
            wanted = [file for file in folder.recordings if self.only in ("", file.path)]
            yield from recordings.samples(wanted, folder.beside, self._texts)
        if not recordings:
            raise UsageError(
                f"no recordings in {self.root}: expected .wav or .flac files, here or in subfolders, or .tar files"
            )
        yield from recordings.absent()
        notes += recordings.notes(str(self.root))
        if others and not self.only:
            notes.append(f"skipped in {self.root}: {others}")

    def _folders(self) -> Iterator[_Folder]:
        """The root and all folders below it, level by level."""
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
        raise UsageError(f"{self.root / level[0]} is {_DEEPEST} folders deep: is it a link to a folder above it?")

    def _look_into(self, path: str, level: Collection[str]) -> _Folder:
        """The content of a folder of this level, and the texts of its speaker if they are where VCTK has them."""
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
    """A file of transcripts. Raises UsageError if it cannot be read, or is larger than any such file."""
    try:
        return place.read(LARGEST_TEXTS)
    except (OSError, ValueError) as error:
        raise UsageError(f"the text in {place} cannot be read ({error})") from None
