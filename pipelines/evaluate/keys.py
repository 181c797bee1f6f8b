"""The keys of predictions: each sample of the shards exactly once, so that no score covers only some samples."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.text import number_of


class Unknown:
    """Keys that the shards lack: how many, and the first."""

    def __init__(self) -> None:
        self.total = 0
        self.first = ""

    def add(self, names: Iterable[str]) -> None:
        for name in names:
            self.first = self.first if self.total else name
            self.total += 1


def check_each_once(path: Path, keys: Sequence[str], seen: NDArray[np.int64], unknown: Unknown) -> None:
    """Raises UsageError unless each key was `seen` once (int64, one count for each key), and none is `unknown`."""
    missing, twice = np.flatnonzero(seen == 0), np.flatnonzero(seen > 1)
    problems = []
    if len(missing):
        problems.append(f"lacks {len(missing):,} of {len(keys):,} keys (first: {keys[missing[0]]})")
    if len(twice):
        problems.append(f"has {number_of(len(twice), 'key')} more than once (first: {keys[twice[0]]})")
    if unknown.total:
        problems.append(
            f"has {number_of(unknown.total, 'key')} that its shards lack (first: {unknown.first!r}{_hint(unknown)})"
        )
    if problems:
        raise UsageError(f"{path} {', '.join(problems)}: give each sample exactly once")


def _hint(unknown: Unknown) -> str:
    name = PurePosixPath(unknown.first)
    return f"; keys are stems, such as {name.stem!r}" if name.suffix or len(name.parts) > 1 else ""


def label_map_paths(folder: Path, keys: Sequence[str]) -> Mapping[str, Path]:
    """The label-map PNG of each key in a folder. Raises UsageError if any is missing or has an unknown key."""
    found = {path.stem: path for path in folder.glob("*.png")}
    check_keys(folder, keys, found.keys())
    return found


def check_keys(path: Path, keys: Sequence[str], found: Collection[str]) -> None:
    """Raises UsageError unless the keys `found` in the predictions at `path` are exactly these keys."""
    seen = np.array([key in found for key in keys], np.int64)
    unknown = Unknown()
    unknown.add(sorted(set(found) - set(keys)))
    check_each_once(path, keys, seen, unknown)
