"""Git LFS pointers: text files that stand in for files not fetched with a clone.

A pointer has less than 1,024 bytes and begins with its version (git-lfs, docs/spec.md).
"""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.errors import UsageError
from pipelines.generate.sources.base import Missing
from pipelines.store import Place

_VERSION = b"version https://git-lfs.github.com/spec/v1"
LARGEST_POINTER = 1023
WHAT_TO_DO = "run `git lfs pull` in the clone that it lies in"
POINTER = Missing(f"source: a Git LFS pointer, not the file itself: {WHAT_TO_DO}")


def is_pointer(data: bytes) -> bool:
    """Whether a file is a pointer, given its first bytes."""
    return data.startswith(_VERSION)


def refuse_pointers(files: Iterable[Place]) -> None:
    """Raises UsageError for the first of these files that is a pointer. Unreadable files are skipped."""
    for place in files:
        try:
            with place.open(LARGEST_POINTER) as file:
                head = file.read(len(_VERSION))
        except OSError:
            continue
        if is_pointer(head):
            raise UsageError(f"{place} is a Git LFS pointer, not the file itself: {WHAT_TO_DO}")
