"""What a check reports."""

from __future__ import annotations

from typing import NamedTuple


class Problem(NamedTuple):
    """One thing that is wrong: the file (and the sample in it), and what is wrong with it.

    `promised` marks a difference that is within what is promised for another kind of machine.
    """

    where: str
    what: str
    promised: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"
