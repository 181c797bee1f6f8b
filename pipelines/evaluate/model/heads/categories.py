"""Maps a model's classes to COCO's categories: by their number, or as `labels` or `class_offset` state."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.evaluate.model.heads.common import Classes, Given

# COCO's ids of its 80 classes, in order: 1 to 90 without those that were dropped.
CATEGORIES = tuple(sorted(set(range(1, 91)) - {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}))
# The number of outputs of a model whose classes are COCO's ids, with 0 for the background.
IDS = 91


class Categories(NamedTuple):
    """The category id of each class, int64, -1 for none; classes below `first` are invalid."""

    ids: NDArray[np.int64]
    first: int = 0

    def of(self, classes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The ids of these classes. Raises UsageError for an invalid class."""
        if len(classes) and not self.first <= classes.min() <= classes.max() < len(self.ids):
            wrong = next(one for one in classes.tolist() if not self.first <= one < len(self.ids))
            raise UsageError(
                f"the model gives the class {wrong}, outside {self.first} to {len(self.ids) - 1}: give labels, a file "
                "with the COCO category id of each class from 0 on, one per line, -1 for none"
            )
        return self.ids[classes]


def categories(classes: Classes, given: Given) -> Categories | None:
    """The categories of a model's classes; None if they are unknown."""
    count, named = classes.total, classes.total is None
    if given.labels is not None:
        return Categories(np.array(given.labels, np.int64)) if named or count == len(given.labels) else None
    offset = given.class_offset
    if offset:
        in_order = Categories(np.array([-1] * offset + list(CATEGORIES), np.int64))
        return in_order if named or count == len(in_order.ids) else None
    if classes.ids:
        ids = np.arange(IDS)
        return Categories(np.where(np.isin(ids, CATEGORIES), ids, -1), first=int(named))
    return Categories(np.array(CATEGORIES, np.int64)) if named or count == len(CATEGORIES) else None


def unknown(head: str, classes: Classes, given: Given) -> UsageError:
    """The error for classes whose categories are unknown."""
    count = classes.total or 0
    if given.labels is not None:
        return UsageError(f"labels has {len(given.labels):,} lines, but the model ({head}) has {count:,} classes")
    hint = "give labels, a file with the COCO category id of each class, one per line, -1 for none"
    if count == len(CATEGORIES) + 1:
        hint = f"give class_offset = 1 if the first is the background, else {hint.removeprefix('give ')}"
    less = f" less a class_offset of {given.class_offset}" if given.class_offset else ""
    return UsageError(f"the model ({head}) has {count:,} classes{less}, but COCO has {len(CATEGORIES)}: {hint}")
