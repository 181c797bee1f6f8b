"""What turns a model's outputs into a file of predictions: a classifier's labels, or a detector's boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from generators.boxes import BoxNoise
from pipelines.evaluate.model.inputs import Image

Outputs = Sequence[NDArray[np.float32]]
# Takes the next rows of a file.
Add = Callable[[Sequence[Any]], None]


class Reader(Protocol):
    """Reads outputs in any thread, and writes rows in one."""

    def are_scores(self, output: NDArray[np.float32]) -> bool:
        """Whether an output holds numbers that can be read."""
        ...

    def read(self, outputs: Outputs, images: Sequence[Image], kinds: Sequence[BoxNoise]) -> list[list[Any]]:
        """The rows of these images, for each kind of box noise."""
        ...

    def writing(self, path: Path) -> AbstractContextManager[Add]:
        """A file that is whole once the block has ended well."""
        ...
