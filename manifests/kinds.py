"""Which kind a set is of, by the name of its dataset."""

from __future__ import annotations

from manifests.images import IMAGES
from manifests.mels import MELS, SPOKEN
from manifests.row import Kind


def kind_of(dataset: str) -> Kind:
    """What a dataset's samples are made into."""
    return MELS if dataset in SPOKEN else IMAGES
