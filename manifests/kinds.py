"""Maps a dataset's name to its kind of set."""

from __future__ import annotations

from manifests.images import IMAGES
from manifests.mels import MELS, SPOKEN
from manifests.row import Kind


def kind_of(dataset: str) -> Kind:
    """The kind of result made from a dataset's samples."""
    return MELS if dataset in SPOKEN else IMAGES
