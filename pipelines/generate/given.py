"""A renderer's input and output: samples with their bytes, and rows with the members of a tar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from manifests.row import Row
from pipelines.generate.sources import Missing, Sample, Segmented, Source
from pipelines.generate.sources.pointers import POINTER, is_pointer


class Given(NamedTuple):
    """A sample with its bytes and, if the dataset has them, its label map."""

    sample: Sample
    data: bytes | Missing
    classes: NDArray[np.uint8] | Missing | None = None


class Rendered(NamedTuple):
    """A row of the manifest and, unless it failed, the binary members by extension."""

    row: Row
    files: Mapping[str, bytes] | None


class Renders(Protocol):
    """Renders samples for a set of variants."""

    def render_all(self, given: Iterable[Given]) -> Iterator[list[Rendered]]:
        """A result for each variant, in order, for each sample, in order."""


def read(source: Source, samples: Sequence[Sample]) -> Iterator[Given]:
    """Read some of a source's samples, in order, for a renderer."""
    for sample, found in zip(samples, source.read(samples), strict=True):
        data = POINTER if isinstance(found, bytes) and is_pointer(found) else found
        yield Given(sample, data, source.label_map(sample) if isinstance(source, Segmented) else None)
