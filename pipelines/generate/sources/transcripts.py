"""Transcripts of recordings, in the layouts in common use.

A file for each recording (`a.normalized.txt`, `a.txt`, `a.lab`, `a.original.txt`, a WebDataset's `a.json`), the list of
a chapter as in LibriSpeech (`84-121123.trans.txt`), the folder of a speaker's texts as in VCTK, and LJSpeech's
`metadata.csv`. If there is a normalised text it is preferred, since it spells numbers and abbreviations as they are
spoken. Refuses text that is not UTF-8, lines that do not belong in a list, and duplicate ids.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from manifests.untrusted import parse_description
from pipelines.errors import UsageError
from pipelines.generate.sources.base import RECORDING_SUFFIXES, is_litter, key_of
from pipelines.generate.sources.pointers import WHAT_TO_DO, is_pointer

METADATA = "metadata.csv"
# Suffixes in order of preference: LibriTTS has the first and the last, VCTK `.txt`, aligners `.lab`.
_ONE_EACH = (".normalized.txt", ".txt", ".lab", ".json", ".original.txt")
_LIST = ".trans.txt"
# VCTK 0.92 has two recordings of each sentence, but one text.
_MICROPHONE = re.compile(r"_mic[12]$")
# Fields with the text in JSON from WebDatasets and the Hub.
_IN_JSON = ("normalized_text", "text", "transcript", "transcription", "sentence")
# Bytes: an hour of speech; and a whole metadata.csv, of which LJSpeech's for 13,100 recordings has 2.6 million.
_LONGEST_TEXT, LARGEST_TEXTS = 2**16, 2**26


class File(NamedTuple):
    """A file of the source: its path there, its size in bytes, and its place as samples have it."""

    path: str
    size: int
    place: tuple[Any, ...]


# Reads files, and returns their bytes in order.
Reader = Callable[[Sequence[File]], Iterator[bytes]]


def is_part(name: str) -> bool:
    """Whether a file that is not a recording still belongs to a set of them: it may have transcripts, or is litter."""
    return name.lower().endswith(_ONE_EACH) or name == METADATA or is_litter(name)


def folder_of_texts(path: str) -> str:
    """The folder where VCTK has the texts for a speaker's recordings: `txt/p225` for `wav48/p225`."""
    *above, speaker = path.split("/")
    return "/".join([*above[:-1], "txt", speaker])


def texts_beside(stems: Sequence[str], files: Mapping[str, File], read: Reader) -> list[str]:
    """The transcript of each recording, by the stem of its name, from the files of its folder; empty if there is none.

    Raises UsageError if a transcript is unreadable.
    """
    lists = [file for name, file in files.items() if name.endswith(_LIST)]
    own = [_own(stem, files) for stem in stems]
    wanted = [file for file in own if file]
    for file, most in (*((each, LARGEST_TEXTS) for each in lists), *((each, _LONGEST_TEXT) for each in wanted)):
        if file.size > most:
            raise UsageError(f"{file.path} has {file.size:,} bytes, but a transcript has at most {most:,}: move it")
    contents = read([*lists, *wanted])
    listed: dict[str, str] = {}
    for file in lists:
        texts = read_list(next(contents), file.path)
        if twice := min(listed.keys() & texts.keys(), default=""):
            raise UsageError(f"{file.path}: {twice!r} is also in another list in this folder; remove one of the lines")
        listed |= texts
    return [
        _text(next(contents), file) if file else listed.get(stem, "") for stem, file in zip(stems, own, strict=True)
    ]


def _own(stem: str, files: Mapping[str, File]) -> File | None:
    """The file with one recording's own transcript, or with that of a sentence recorded by several microphones."""
    names = (
        f"{each}{suffix}"
        for each in dict.fromkeys((stem, _MICROPHONE.sub("", stem)))
        for known in _ONE_EACH
        for suffix in (known, known.upper())
    )
    return next((files[name] for name in names if name in files), None)


def _text(data: bytes, file: File) -> str:
    if file.path.lower().endswith(".json"):
        return _text_in_json(data, file.path)
    return " ".join(line.strip() for line in _lines(data, file.path) if line.strip())


def _text_in_json(data: bytes, path: str) -> str:
    try:
        value = parse_description(data)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None
    held = value if isinstance(value, dict) else {}
    return next((held[name] for name in _IN_JSON if isinstance(held.get(name), str)), "")


def read_list(data: bytes, path: str) -> dict[str, str]:
    """Texts by recordings' stems, from lines of `ID TEXT` as in LibriSpeech, separated by spaces or a tab."""
    found: dict[str, str] = {}
    for number, line in enumerate(_lines(data, path), 1):
        stem, *text = line.split(maxsplit=1) or [""]
        if stem:
            _add(found, stem, "".join(text).rstrip(), f"{path}, line {number}")
    return found


def read_metadata(data: bytes, path: str) -> dict[str, str]:
    """Texts by key, from LJSpeech's lines of `ID|text|normalised text`, or `ID|text`. Quotes have no special meaning.

    An ID is a file name, with or without folder and suffix. Raises UsageError, which names the first faulty line.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(_lines(data, path), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        name, *texts = line.split("|")
        if not name.strip() or not 1 <= len(texts) <= 2:
            raise UsageError(f"{where}: expected id|text|normalised text, found {line[:60]!r}")
        _add(found, metadata_key(name.strip()), texts[-1].strip() or texts[0].strip(), where)
    if not found:
        raise UsageError(f"{path} is empty: give lines of id|text|normalised text, or move it elsewhere")
    return found


def metadata_key(name: str) -> str:
    """The key of a recording in `read_metadata`'s result. Composed and decomposed accents are the same."""
    return unicodedata.normalize("NFC", key_of(name, RECORDING_SUFFIXES))


def _add(found: dict[str, str], key: str, text: str, where: str) -> None:
    if key in found:
        raise UsageError(f"{where}: {key!r} is listed twice; remove one of the lines")
    found[key] = text


def _lines(data: bytes, path: str) -> list[str]:
    """A text's lines. Unicode's other line breaks (U+2028, U+0085) do not end a line."""
    if is_pointer(data):
        raise UsageError(f"{path} is a Git LFS pointer, not the file itself: {WHAT_TO_DO}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8 (byte {error.start:,}): convert it, for example with iconv -f LATIN1 -t UTF-8"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
