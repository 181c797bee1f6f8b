"""How far a model's outputs for an image are from the device's: a distance that is 0 only for equal outputs.

A device's kernels may round differently in the last bits, so that outputs can be equal, close (up to such rounding), or
different.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from generators.boxes import BoxNoise
from pipelines.evaluate.model.inputs import Image
from pipelines.evaluate.model.runtimes import Outputs

# The outputs to compare for one image: those that the device shows, or one array of boxes.
Answer = tuple[NDArray[np.generic], ...]


class Apart(NamedTuple):
    """How far two answers are apart.

    `mean` is the distance, `peak` the largest difference (for boxes: among those found). `equal`: the same in the
    digits that the device gave; `close`: within another runtime's rounding. `agrees` is whether the best class is the
    same, or the share of the device's boxes that is found; None for outputs of other kinds.
    """

    mean: float
    peak: float
    equal: bool
    close: bool
    agrees: float | None


class Comparison(Protocol):
    """The device's answers, and how a model's outputs are compared with them."""

    theirs: Mapping[str, Answer]
    # Lines for the user on how the device's files were read.
    notes: Sequence[str]
    # Whether outputs are boxes, which show box noise.
    decoded: bool
    # The heads of the columns of `mean`, `peak` and `agrees`; the last may be empty.
    heads: tuple[str, str, str]
    # A line that defines the distance; may be empty.
    unit: str

    def answers(self, outputs: Outputs, images: Sequence[Image], noises: Sequence[BoxNoise]) -> list[list[Answer]]:
        """A model's answers for these images, for each kind of box noise. Thread-safe."""
        ...

    def apart(self, theirs: Answer, mine: Answer) -> Apart:
        """How far a model's answer for an image is from the device's."""
        ...


def of_image(output: NDArray[np.generic], index: int, count: int) -> NDArray[np.generic]:
    """One image's part of an output, which for a single image may lack the batch axis."""
    return output[index] if output.ndim and len(output) == count else output
