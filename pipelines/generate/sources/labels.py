"""ImageNet's labels: 0–999 in the order of sorted synsets, from whatever list a user has.

`ilsvrc2012_synsets.txt` lists the 1000 synsets in the order of their ILSVRC2012_ID (the devkit's `meta.mat`), from ID 1
in line 1. The standard labels are the positions in the sorted list.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from manifests.untrusted import parse_description, read_at_most
from pipelines.errors import UsageError
from pipelines.generate.sources.base import key_of
from pipelines.generate.sources.tables import BOXED, Entry, read_table
from pipelines.store import Place

CLASSES = 1000
# Bytes: enough for millions of names.
_LARGEST_LIST = 2**28
# Fields of WebDatasets' `json` members that can have a label: as a number, and as a synset.
_NUMBERED = ("label", "labels", "cls", "class", "class_id", "class_index", "label_id", "target")
_IN_JSON = (*_NUMBERED, "synset", "wnid", "label_name", "class_name")


@functools.cache
def _by_id() -> tuple[str, ...]:
    return tuple(Path(__file__).with_name("ilsvrc2012_synsets.txt").read_text().split())


@functools.cache
def label_by_synset() -> Mapping[str, int]:
    """Label 0–999 of every synset (`n01440764` → 0)."""
    return {synset: label for label, synset in enumerate(sorted(_by_id()))}


def labels_by_id() -> tuple[int, ...]:
    """The label of each ILSVRC2012_ID of the devkit, from 1 on."""
    return tuple(label_by_synset()[synset] for synset in _by_id())


@dataclass(frozen=True)
class LabelList:
    """Labels for files: by key (the file's stem), or by the number in an official validation file's name."""

    path: str
    by_key: Mapping[str, int]
    by_number: tuple[int, ...]

    def label(self, key: str) -> int | None:
        """The label of the file with this key, or None if the list has none."""
        if self.by_number:
            number = _number(key)
            return self.by_number[number - 1] if 1 <= number <= len(self.by_number) else None
        return self.by_key.get(key)


def read_labels(path: Place) -> LabelList:
    """Read a `name label` list (labels 0–999 or synsets), the same as CSV, or the devkit's ground truth.

    Names may have folders and an extension. CSV is read as described in `tables`; the devkit's
    `ILSVRC2012_validation_ground_truth.txt` is recognised by having one word a line. Raises UsageError, which names the
    first faulty line.
    """
    try:
        with path.open() as file:
            lines = read_at_most(file, _LARGEST_LIST).decode("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"the labels in {path} cannot be read ({error})") from None
    if not any(map(str.strip, lines)):
        raise UsageError(f"{path} is empty: give a list of `name label` lines")
    try:
        entries = read_table(lines, _is_synset, _is_label) or _read_words(lines)
    except ValueError as error:
        raise UsageError(f"{path}, {error}") from None
    if not any(entry.name for entry in entries):
        return LabelList(str(path), {}, tuple(_from_id(path, entry.line, entry.label) for entry in entries))
    if len(entries) > 1 and all(_is_own_number(entry) for entry in entries):
        raise UsageError(
            f"{path} only numbers the files, like Kaggle's ImageSets, and has no labels: give LOC_val_solution.csv"
        )
    labels: dict[str, int] = {}
    for line, name, text in entries:
        key = key_of(name)
        label = _from_text(path, line, text)
        if labels.setdefault(key, label) != label:
            raise UsageError(f"{path}, line {line}: {key} has two labels, {labels[key]} and {label}")
    return LabelList(str(path), labels, ())


def _read_words(lines: Iterable[str]) -> list[Entry]:
    """The entries of a list of words. The label is a line's last word, or the first of its boxes."""
    rows = [(number, _name_and_label(line)) for number, line in enumerate(lines, 1) if line.strip()]
    unnamed = all(len(words) == 1 for _, words in rows)
    for number, words in rows:
        if len(words) == 1 and not unnamed:
            raise ValueError(f"line {number}: expected `name label`, found {words[0]!r}")
    return [Entry(number, words[0].strip() if len(words) > 1 else "", words[-1]) for number, words in rows]


def _name_and_label(line: str) -> list[str]:
    words = line.split()
    boxed = len(words) > BOXED and len(words) % BOXED == 1 and all(map(_is_synset, words[1::BOXED]))
    return words[:2] if boxed else line.rsplit(maxsplit=1)


def label_in_json(text: bytes) -> int | None:
    """The label that a WebDataset's `json` member states, or None. Of a list, the first item counts.

    Raises ValueError for invalid JSON, an invalid label, and two labels that differ.
    """
    value = parse_description(text)
    stated = {name: value[name] for name in _IN_JSON if name in value} if isinstance(value, dict) else {}
    found: dict[int, str] = {}
    for name, held in stated.items():
        first = held[0] if isinstance(held, list) and len(held) == 1 else held
        if (label := _from_value(first)) is not None:
            found[label] = name
        elif name in _NUMBERED and isinstance(first, int):
            raise ValueError(f"has the {name} {first!r}, which is not from 0 to {CLASSES - 1}")
    if len(found) > 1:
        raise ValueError("has two labels: " + ", ".join(f"{name} {label}" for label, name in found.items()))
    return next(iter(found), None)


def _from_value(value: object) -> int | None:
    """A JSON value as a label: a number from -1 to 999, or text with such a number or a synset; else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if -1 <= value < CLASSES else None
    if not isinstance(value, str):
        return None
    return int(value) if _is_label(value) else label_by_synset().get(value)


def _from_id(path: Place, line: int, text: str) -> int:
    if not _is_number(text) or not 1 <= int(text) <= CLASSES:
        raise UsageError(f"{path}, line {line}: {text!r} is not an ILSVRC2012_ID (1 to {CLASSES}) of the devkit")
    return label_by_synset()[_by_id()[int(text) - 1]]


def _from_text(path: Place, line: int, text: str) -> int:
    label = label_by_synset().get(text)
    if label is None and _is_label(text):
        label = int(text)
    if label is None:
        raise UsageError(f"{path}, line {line}: {text!r} is neither a label (0 to {CLASSES - 1}) nor a synset")
    return label


def _number(key: str) -> int:
    """The number in an official validation file's name, 0 for other names."""
    match = re.fullmatch(r"ILSVRC2012_val_(\d{8})", key)
    return int(match.group(1)) if match else 0


def _is_own_number(entry: Entry) -> bool:
    return _is_number(entry.label) and 0 < int(entry.label) == _number(key_of(entry.name))


def _is_synset(text: str) -> bool:
    return text in label_by_synset()


def _is_label(text: str) -> bool:
    return _is_number(text) and int(text) < CLASSES


def _is_number(text: str) -> bool:
    """Whether a text is a number that may be a label. int() would raise for one with thousands of digits."""
    return text.isdecimal() and len(text) < 10


def no_labels(labels: Place | None, why: str) -> None:
    """Raises UsageError if a list of labels is given for a source that does not need one."""
    if labels is not None:
        raise UsageError(f"--labels {labels} is not needed, since {why}: leave it out")
