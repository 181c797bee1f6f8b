"""Samples for recordings, wherever these are, with their transcripts, and notes about those that lack either."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from manifests.untrusted import LONGEST_TEXT
from pipelines.errors import UsageError
from pipelines.generate.sources.base import RECORDING_SUFFIXES, UNKNOWN_LABEL, Names, Sample, key_of
from pipelines.generate.sources.transcripts import METADATA, File, Reader, metadata_key, texts_beside

# Replaces characters in a key that separate folders or end a key.
_FLAT = str.maketrans("/.", "__")


class Recordings:
    """Pairs recordings with their transcripts, and counts those that have none.

    `metadata` has the transcripts of LJSpeech's metadata.csv, by key; without it, they are in files next to recordings.
    """

    def __init__(self, metadata: Mapping[str, str] | None) -> None:
        self._metadata = metadata
        self._absent = dict(metadata or {})
        self._silent, self._shared = Names(), Names()
        self._count = 0

    def __bool__(self) -> bool:
        """Whether there has been any recording."""
        return self._count > 0

    def samples(self, recordings: Sequence[File], beside: Mapping[str, File], read: Reader) -> Iterator[Sample]:
        """Samples for some recordings. `beside` has the files of their folder, by name."""
        for file, text in zip(recordings, self._texts(recordings, beside, read), strict=True):
            self._count += 1
            if text is None:
                self._silent.add(file.path)
            key = key_of(file.path, RECORDING_SUFFIXES)
            yield Sample(key, UNKNOWN_LABEL, file.path, file.size, file.place, _text_field(text or "", file.path))

    def _texts(self, recordings: Sequence[File], beside: Mapping[str, File], read: Reader) -> Iterator[str | None]:
        if self._metadata is None:
            texts = texts_beside([_stem(file.path) for file in recordings], beside, read)
            yield from (text or None for text in texts)
            return
        for file in recordings:
            key = metadata_key(file.path)
            if self._absent.pop(key, None) is None and key in self._metadata:
                self._shared.add(file.path)
            yield self._metadata.get(key)

    def absent(self) -> Iterator[Sample]:
        """Samples for entries of metadata.csv without a recording."""
        for key, text in self._absent.items():
            yield Sample(key, UNKNOWN_LABEL, key, 0, (), _text_field(text, key))

    def notes(self, where: str) -> Iterator[str]:
        """Notes for the user, once all recordings have been seen."""
        if self._absent:
            yield f"{METADATA} lists {Names(self._absent)} missing from {where}: counted as failed"
        if self._shared:
            yield f"{METADATA} has only one text for recordings that share a name: also used for {self._shared}"
        if self._silent and self._metadata is not None:
            yield f"{METADATA} does not list {self._silent}: used with an empty text"
        elif self._silent.count == self._count:
            yield f"no recording in {where} has a text file: all texts are empty"
        elif self._silent:
            yield f"no text file for {self._silent}: used with an empty text"


def _text_field(text: str, path: str) -> tuple[tuple[str, str]]:
    """A sample's text for its `extra`. Raises UsageError if it is too long for a table."""
    if (length := len(text.encode())) > LONGEST_TEXT:
        raise UsageError(
            f"the text of {path} has {length:,} bytes, but a table's has at most {LONGEST_TEXT:,}: shorten it"
        )
    return (("text", text),)


def _stem(path: str) -> str:
    """A file's name without its last suffix."""
    name = path.rpartition("/")[2]
    return name.rpartition(".")[0] or name


def longer_keys(path: str) -> Sequence[str]:
    """Keys for a recording that shares its stem with another: its whole path, then with its suffix as well."""
    stem, _, suffix = path.rpartition(".")
    key = stem.translate(_FLAT)
    return key, f"{key}_{suffix}"
