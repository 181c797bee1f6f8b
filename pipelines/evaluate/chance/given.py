"""The options that the user has already given for a model or its predictions, which are not advised again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Given(NamedTuple):
    """Whether a model is run here, the given options (flags without dashes), the offset subtracted from class numbers,
    and the dataset's classes that the model has (None if unknown).
    """

    model: bool = False
    stated: frozenset[str] = frozenset()
    offset: int = 0
    classes: frozenset[int] | None = None

    def shifted(self, shift: int) -> str:
        """What to do if class numbers are right with `shift` more subtracted."""
        if self.model and "class-labels" in self.stated:
            return "check the given list of the model's classes"
        offset = self.offset + shift
        return f"give --class-offset {offset}" if offset else "leave out --class-offset"

    def pixels(self) -> str:
        """How pixels may differ from what a model expects, with the options to correct it if it is run here."""
        wrong = "pixels with another scale, mean or std than the model was trained with, or BGR instead of RGB"
        return self.with_flags(wrong, ("scale", "mean", "std", "channels"))

    def with_flags(self, cause: str, flags: Sequence[str]) -> str:
        """A cause, with the options to give or check against it if the model is run here."""
        if not self.model:
            return cause
        given, other = ([f"--{flag}" for flag in flags if (flag in self.stated) is known] for known in (True, False))
        do = [f"check the given {', '.join(given)}"] if given else []
        do += [f"give {', '.join(other)}"] if other else []
        return f"{cause} ({'; or '.join(do)})"
