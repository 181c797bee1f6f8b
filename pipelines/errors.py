"""The errors that end a run, each with the exit status that the command line gives for it."""

from __future__ import annotations

from pipelines.text import one_line


class SysNoiseError(Exception):
    """A run cannot go on; the message is the one line that the user sees."""

    exit_status = 3

    def __str__(self) -> str:
        return one_line(super().__str__())


class UsageError(SysNoiseError):
    """The input or the options are at fault; the message says what to do."""

    exit_status = 2


# What to do about a file or folder that another machine does not see.
SHARE = "give paths that all nodes share, or URIs"


class SourceError(SysNoiseError):
    """The source could not be read in the middle of a run (a lost mount): no sample is blamed for it."""


class RunError(SysNoiseError):
    """The run itself failed (a full disk, a lost worker); whole shards are kept and the same command continues."""


class UnfitError(RunError):
    """A node makes something else than the run is to have: its piece is for another, as are all that follow.

    `node` is the id that Ray has given it.
    """

    def __init__(self, reason: str, node: str) -> None:
        super().__init__(reason, node)
        self.reason, self.node = reason, node

    def __str__(self) -> str:
        return one_line(self.reason)
