"""Tars: the official one with a list of labels, tars of class folders or of a class each, and WebDatasets."""

from __future__ import annotations

from collections.abc import Sequence

from manifests.splits import TRAIN, VALIDATION
from pipelines.generate.sources.base import Source
from pipelines.generate.sources.labelled import TarSource
from pipelines.generate.sources.labels import read_labels
from pipelines.generate.sources.tree_tar import TreeTarSource, class_in, holds_classes
from pipelines.generate.sources.webdataset import WebDatasetSource
from pipelines.store import Place

SUFFIX, NAME = ".tar", "tars"


def open_files(files: tuple[Place, ...], labels: Place | None, split: str, notes: tuple[str, ...]) -> Source:
    """The source of a split's tars. Raises UsageError if the first is not a readable tar."""
    if labels:
        return TarSource(files, read_labels(labels), notes)
    if holds_classes(files[0]):
        return TreeTarSource(files, (*notes, *_taken_split(files, split)))
    return WebDatasetSource(files, notes)


def _taken_split(files: Sequence[Place], split: str) -> list[str]:
    """A note if there is one tar for each class, since their names do not say which split they are of."""
    if not all(class_in(file.name) for file in files):
        return []
    other = TRAIN if split == VALIDATION else VALIDATION
    return [f"the tars of {files[0].parent} name no split: read as {split} (for the other, give --split {other})"]
