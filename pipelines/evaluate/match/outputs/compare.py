"""How far what a model put out for an image is from what the device did: a distance that is 0 for the same alone.

A device computes with kernels of its own, whose sums differ in their last bits: outputs may be equal, or equal but for
such rounding, which is told apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from generators.boxes import BoxNoise
from pipelines.evaluate.model.inputs import Image
from pipelines.evaluate.model.runtimes import Outputs

# What there is of one image, to be compared: the outputs that the device shows, or one array of boxes.
Answer = tuple[NDArray[np.generic], ...]


class Apart(NamedTuple):
    """How far two answers are from one another.

    `mean` is the distance, `peak` the largest difference, of boxes among those that are found again. `equal`: the same
    in the digits that the device gave; `close`: no farther than another runtime's rounding. `agrees` says whether the
    best class is the same, or which share of the device's boxes is found again; None where it means nothing.
    """

    mean: float
    peak: float
    equal: bool
    close: bool
    agrees: float | None


class Comparison(Protocol):
    """The device's answers, and what reads a model's outputs as such."""

    theirs: Mapping[str, Answer]
    # Lines for the user on how they were read.
    notes: Sequence[str]
    # Whether box noise can show.
    decoded: bool
    # The heads of the columns of `mean`, `peak` and `agrees`, the last of which may be empty.
    heads: tuple[str, str, str]
    # A line on what the distance is; may be empty.
    unit: str

    def answers(self, outputs: Outputs, images: Sequence[Image], noises: Sequence[BoxNoise]) -> list[list[Answer]]:
        """What a model put out for these images, for each kind of box noise; in any thread."""
        ...

    def apart(self, theirs: Answer, mine: Answer) -> Apart:
        """How far a model's answer for an image is from the device's."""
        ...


def of_image(output: NDArray[np.generic], index: int, count: int) -> NDArray[np.generic]:
    """One image's part of an output, which for a single image may lack the axis of the batch."""
    return output[index] if output.ndim and len(output) == count else output
