"""What the user has said of a model or its predictions: it is never advised again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Given(NamedTuple):
    """Whether a model is run here, the options that were given (flags without dashes), what was taken off its class
    numbers, and the dataset's classes that the model has; None where that is not known.
    """

    model: bool = False
    stated: frozenset[str] = frozenset()
    offset: int = 0
    classes: frozenset[int] | None = None

    def shifted(self, shift: int) -> str:
        """What to do where class numbers are right with so much more taken off."""
        if self.model and "class-labels" in self.stated:
            return "look at the list of the model's classes that is given"
        offset = self.offset + shift
        return f"give --class-offset {offset}" if offset else "leave --class-offset out"

    def pixels(self) -> str:
        """How pixels can be other than a model wants them: of a model that is run here, with the options for it."""
        wrong = "pixels in another scale, mean or std than the model was trained with, or in BGR for RGB"
        return self.with_flags(wrong, ("scale", "mean", "std", "channels"))

    def with_flags(self, cause: str, flags: Sequence[str]) -> str:
        """A cause with what to give against it, of a model that is run here; what was given is to be looked at."""
        if not self.model:
            return cause
        said, unsaid = ([f"--{flag}" for flag in flags if (flag in self.stated) is known] for known in (True, False))
        do = [f"look at the {', '.join(said)} that is given"] if said else []
        do += [f"give {', '.join(unsaid)}"] if unsaid else []
        return f"{cause} ({'; or '.join(do)})"
