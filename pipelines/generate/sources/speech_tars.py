"""Recordings in tars: WebDatasets, or packed folders. Transcripts are next to them, as in folders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.errors import UsageError
from pipelines.generate.sources.base import Listing, Missing, Names, Sample, is_recording
from pipelines.generate.sources.members import Member, read_members
from pipelines.generate.sources.reading import Piece, Spread, here, read_pieces
from pipelines.generate.sources.recordings import Recordings, longer_keys
from pipelines.generate.sources.tars import list_tars
from pipelines.generate.sources.transcripts import METADATA, File, folder_of_texts, is_part
from pipelines.store import Place


@dataclass(frozen=True)
class SpeechTars:
    """Uncompressed tars of recordings."""

    files: tuple[Place, ...]
    notes: tuple[str, ...] = ()
    kind: str = "speech-tar"

    def listing(self, spread: Spread = here) -> Listing:
        notes = [*self.notes]
        return Listing(self._samples(notes, spread), notes, longer_keys=longer_keys)

    def _samples(self, notes: list[str], spread: Spread) -> Iterator[Sample]:
        recordings, others = Recordings(None), Names()
        for file, members in zip(self.files, list_tars(self.files, spread), strict=True):
            folders = _folders(file, members)
            for path, folder in folders.items():
                beside = folders.get(folder_of_texts(path), {}) | folder
                yield from recordings.samples([*filter(_is_recording, folder.values())], beside, self._texts)
                for name, each in folder.items():
                    if not (is_recording(name) or is_part(name)):
                        others.add(each.path)
        if not recordings:
            raise UsageError(f"no recordings in {self.files[0]}")
        notes += recordings.notes(str(self.files[0]))
        if others:
            notes.append(f"skipped: {others}")

    def _texts(self, files: Sequence[File]) -> Iterator[bytes]:
        read = read_pieces(self.files, (Piece(file.place[0], file.place[1], file.size) for file in files))
        for file, data in zip(files, read, strict=True):
            if len(data) < file.size:
                raise UsageError(f"{file.path} extends beyond the tar's end: fetch it again")
            yield data

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        return read_members(self.files, samples)


def _is_recording(file: File) -> bool:
    return is_recording(file.path)


def _folders(file: Place, members: Sequence[Member]) -> dict[str, dict[str, File]]:
    """A tar's files by folder and name. Raises UsageError for LJSpeech, and for duplicate names."""
    found: defaultdict[str, dict[str, File]] = defaultdict(dict)
    for member in members:
        folder, _, name = member.name.rpartition("/")
        if name == METADATA:
            raise UsageError(f"{file} contains {member.name}: unpack it, and give the folder as --source")
        if name in found[folder]:
            raise UsageError(f"{file} contains {member.name} twice: unpack it, and give the folder as --source")
        found[folder][name] = File(f"{file.name}/{member.name}", member.size, member.place)
    return found
