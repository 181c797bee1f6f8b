"""ImageNet's labels: 0–999 in the order of sorted synsets, from whatever a user has.

`ilsvrc2012_synsets.txt` lists the 1000 synsets in the order of their ILSVRC2012_ID (the devkit's `meta.mat`); line 1
is ID 1. The standard labels are the positions in the sorted list.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from manifests.untrusted import read_at_most
from pipelines.errors import UsageError
from pipelines.generate.sources.base import key_of
from pipelines.store import Place

CLASSES = 1000
# Bytes: room for millions of names.
_LARGEST_LIST = 2**28


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
        """The label of the file with this key, or None where the list does not say."""
        if self.by_number:
            match = re.fullmatch(r"ILSVRC2012_val_(\d{8})", key)
            number = int(match.group(1)) if match else 0
            return self.by_number[number - 1] if 1 <= number <= len(self.by_number) else None
        return self.by_key.get(key)


def read_labels(path: Place) -> LabelList:
    """Read a `name label` list (labels 0–999 or synsets), or the devkit's `ILSVRC2012_validation_ground_truth.txt`.

    Names may have folders before and an extension after them, or not. Raises UsageError that names the first line at
    fault.
    """
    try:
        with path.open() as file:
            lines = read_at_most(file, _LARGEST_LIST).decode("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the labels in {path}: {error}") from None
    rows = [(number, line.rsplit(maxsplit=1)) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise UsageError(f"{path} is empty: give a list of `name label` lines")
    if all(len(words) == 1 for _, words in rows):
        return LabelList(str(path), {}, tuple(_from_id(path, number, words[0]) for number, words in rows))
    labels: dict[str, int] = {}
    for number, words in rows:
        if len(words) != 2:
            raise UsageError(f"{path}, line {number}: expected `name label`, found {' '.join(words)!r}")
        key = key_of(words[0].strip())
        label = _from_text(path, number, words[1])
        if labels.setdefault(key, label) != label:
            raise UsageError(f"{path}, line {number}: {key} has two labels, {labels[key]} and {label}")
    return LabelList(str(path), labels, ())


def _from_id(path: Place, line: int, text: str) -> int:
    if not _is_number(text) or not 1 <= int(text) <= CLASSES:
        raise UsageError(f"{path}, line {line}: {text!r} is no ILSVRC2012_ID (1 to {CLASSES}) of the devkit")
    return label_by_synset()[_by_id()[int(text) - 1]]


def _from_text(path: Place, line: int, text: str) -> int:
    label = label_by_synset().get(text)
    if label is None and _is_number(text) and int(text) < CLASSES:
        label = int(text)
    if label is None:
        raise UsageError(f"{path}, line {line}: {text!r} is neither a label (0 to {CLASSES - 1}) nor a synset")
    return label


def _is_number(text: str) -> bool:
    """Whether a text is a whole number that may be a label: int() raises for one of thousands of digits."""
    return text.isdecimal() and len(text) < 10
