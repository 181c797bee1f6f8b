"""Samples for recordings wherever they lie, with their texts, and what is said of those that lack one or the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from manifests.untrusted import LONGEST_TEXT
from pipelines.errors import UsageError
from pipelines.generate.sources.base import RECORDING_SUFFIXES, UNKNOWN_LABEL, Names, Sample, key_of
from pipelines.generate.sources.transcripts import METADATA, File, Reader, metadata_key, texts_beside

# What a key has in place of what parts a path, and ends a key.
_FLAT = str.maketrans("/.", "__")


class Recordings:
    """Gives recordings their texts, and counts those that have none.

    `told` has the texts of LJSpeech's metadata.csv, by key; without it, texts lie beside the recordings.
    """

    def __init__(self, told: Mapping[str, str] | None) -> None:
        self._told = told
        self._absent = dict(told or {})
        self._silent, self._shared = Names(), Names()
        self._count = 0

    def __bool__(self) -> bool:
        """Whether any has come."""
        return self._count > 0

    def samples(self, recordings: Sequence[File], beside: Mapping[str, File], read: Reader) -> Iterator[Sample]:
        """Samples for some recordings, of which `beside` has the files in their folder, by name."""
        for file, text in zip(recordings, self._texts(recordings, beside, read), strict=True):
            self._count += 1
            if text is None:
                self._silent.add(file.path)
            key = key_of(file.path, RECORDING_SUFFIXES)
            yield Sample(key, UNKNOWN_LABEL, file.path, file.size, file.place, _said(text or "", file.path))

    def _texts(self, recordings: Sequence[File], beside: Mapping[str, File], read: Reader) -> Iterator[str | None]:
        if self._told is None:
            texts = texts_beside([_stem(file.path) for file in recordings], beside, read)
            yield from (text or None for text in texts)
            return
        for file in recordings:
            key = metadata_key(file.path)
            if self._absent.pop(key, None) is None and key in self._told:
                self._shared.add(file.path)
            yield self._told.get(key)

    def absent(self) -> Iterator[Sample]:
        """Samples for what metadata.csv lists and no recording has come for."""
        for key, text in self._absent.items():
            yield Sample(key, UNKNOWN_LABEL, key, 0, (), _said(text, key))

    def notes(self, where: str) -> Iterator[str]:
        """What the user should know, once all recordings have come."""
        if self._absent:
            yield f"{METADATA} lists {Names(self._absent)} that {where} does not have: counted as failed"
        if self._shared:
            yield f"{METADATA} has one text for several recordings of a name: also taken for {self._shared}"
        if self._silent and self._told is not None:
            yield f"{METADATA} does not list {self._silent}: taken with an empty text"
        elif self._silent.count == self._count:
            yield f"no recording in {where} has a text beside it: their texts are empty"
        elif self._silent:
            yield f"no text beside {self._silent}: taken with an empty text"


def _said(text: str, path: str) -> tuple[tuple[str, str]]:
    """A sample's text. Raises UsageError where it is longer than a table's may be."""
    if (length := len(text.encode())) > LONGEST_TEXT:
        raise UsageError(
            f"the text of {path} has {length:,} bytes, and a table's no more than {LONGEST_TEXT:,}: cut it"
        )
    return (("text", text),)


def _stem(path: str) -> str:
    """A file's name without its last suffix."""
    name = path.rpartition("/")[2]
    return name.rpartition(".")[0] or name


def longer_keys(path: str) -> Sequence[str]:
    """Keys for a recording whose stem is another's too: its path's parts, then its suffix as well."""
    stem, _, suffix = path.rpartition(".")
    key = stem.translate(_FLAT)
    return key, f"{key}_{suffix}"
